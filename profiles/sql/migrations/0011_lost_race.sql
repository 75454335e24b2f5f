-- What a statement calls where another writer was faster: it fails with the state that asks for another try, and says
-- nothing of anybody in the server's log. Immutable, as Citus wants it of an upsert.
CREATE FUNCTION lost_race(held anyelement) RETURNS anyelement
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
BEGIN
    RAISE EXCEPTION 'another writer was faster' USING ERRCODE = 'serialization_failure';
END
$$;
