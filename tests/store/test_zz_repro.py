from tests.store.test_acts import *
from tests.store.calls import request, call
from tests.harness import ADMIN_KEY
def test_it(store_url, urls):
    async def story(service):
        clock = [NOW]
        service.acts._clock = service.writes._clock = lambda: clock[0]
        async def crm(who, body):
            clock[0] += 1
            return await call(service.customers.dispatch, request("PATCH", f"/api/v1/customers/{who}", body, authorization=f"Bearer {ADMIN_KEY}"))
        clock[0] += 30
        anon = {"type": "userProfileChanged", "visitor_id": "v3", "patch": {"operations": [{"type": "set", "path": "gender", "value": "female"}]}}
        up = {"type": "userSignedUp", "userId": "ana", "visitor_id": "v2", "profile": {}}
        await submit(service, anon, up, received_at=clock[0])
        clock[0] += 1
        await submit(service, {"type": "clIdentity", "visitor_id": "v3", "customerId": "ana", "name": " ", "gender": "other?", "email": "a@shop.example"}, received_at=clock[0])
        clock[0] += 1
        await submit(service, {"type": "clIdentity", "visitor_id": "v2", "customerId": "ana", "name": "Ana", "gender": None, "email": "", "occurred_at": clock[0]+10}, received_at=clock[0])
        clock[0] += 1
        print(await crm("ana", {"display_email": "a@shop.example", "display_name": "Ana", "gender": None}))
        async with service.database.connection() as connection:
            for r in await (await connection.execute("select version, is_link, act, occurred_at, decisions::text from merge order by version")).fetchall(): print(r)
        rows = await merge_ids(service, "ana")
        await undo(service, "ana", rows[3])
        print(values_in(store_url, "ana"))
        async with service.database.connection() as connection:
            for r in await (await connection.execute("select version, fields from customer")).fetchall(): print(r)
        await undo(service, "ana", rows[4])
        print(values_in(store_url, "ana"))
    play(store_url, urls, story)
    check_store(store_url)
