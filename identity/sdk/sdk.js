// Carries clIdentity from window.dataLayer, and clWidget.clSdk.clRe.record(), to the identity service.
// Nothing here throws into the page, makes it wait or, without data-debug, writes to the console.
(() => {
  "use strict";
  const FIELDS = {
    customerId: "customer_id", email: "display_email", name: "display_name", phone: "display_mobile",
    gender: "gender", birthday: "birth", address: "address", identityToken: "identity_token",
  };
  const DAY = 864e5, MINUTE = 6e4;
  const AGE_MAX = 3 * DAY, ITEMS_MAX = 100, SIZE_MAX = 2e5, REQUEST_BYTES_MAX = 3e4, BATCH_MAX = 50;
  const TRIES_MAX = 20, PAUSE_MAX = 60 * MINUTE, BACKOFF_MAX = 5 * MINUTE, TIMEOUT = 15e3;
  // So long other tabs leave alone what this one is sending.
  const LEASE = 2 * TIMEOUT;
  const ID_FORM = /^[\w-]{16,64}$/;

  const silently = (work) => (...values) => {
    try {
      return work(...values);
    } catch (error) {
      say(error);
    }
  };
  const script = document.currentScript || document.querySelector("script[data-write-key]");
  const { writeKey, endpoint, name = "identity", cookieDays, cookieDomain, consent, debug } = script?.dataset || {};
  const say = (...words) => debug != null && console.info("identity:", ...words);

  // What localStorage does not take.
  const memory = new Map();
  const get = (key) => {
    try {
      return memory.get(key) ?? localStorage.getItem(key);
    } catch {}
  };
  const set = (key, value) => {
    try {
      localStorage.setItem(key, value);
      memory.delete(key);
    } catch {
      memory.set(key, value);
    }
  };
  const remove = (key) => {
    memory.delete(key);
    silently(() => localStorage.removeItem(key))();
  };
  const keys = (prefix) => {
    const all = [...memory.keys()];
    silently(() => all.push(...Object.keys(localStorage)))();
    return all.filter((key) => key.startsWith(prefix));
  };

  const VISITOR = name + "Visitor", LAST = name + "Last", PAUSE = name + "Pause", QUEUE = name + "Queue.";
  const lifetime = (cookieDays > 0 ? cookieDays : 395) * DAY;
  const random = () =>
    [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => (byte + 256).toString(16).slice(1)).join("");
  const writeCookie = silently((value, seconds) => {
    const domain = cookieDomain ? ";domain=" + cookieDomain : "", secure = location.protocol === "https:" ? ";secure" : "";
    document.cookie = `${VISITOR}=${value};path=/;max-age=${seconds};samesite=lax${domain}${secure}`;
  });
  const readCookie = silently(() => document.cookie.split("; ").find((pair) => pair.startsWith(VISITOR + "=")));
  let visitorId;
  const visitor = () => {
    let id = readCookie()?.slice(VISITOR.length + 1);
    if (!ID_FORM.test(id)) {
      const [kept, at] = (get(VISITOR) || "").split(" ");
      id = ID_FORM.test(kept) && !(Date.now() - at > lifetime) ? kept : random();
    }
    if (id !== visitorId) {
      visitorId = id;
      set(VISITOR, id + " " + Date.now());
      writeCookie(id, lifetime / 1e3);
    }
    return id;
  };

  const hash = (text) => {
    let a = 0xdeadbeef, b = 0x41c6ce57;
    for (let i = 0; i < text.length; i++) {
      a = Math.imul(a ^ text.charCodeAt(i), 2654435761);
      b = Math.imul(b ^ text.charCodeAt(i), 1597334677);
    }
    return (a >>> 0).toString(36) + (b >>> 0).toString(36);
  };
  // Two moments of one page never tie.
  let clock = 0;
  const tick = () => (clock = Math.max(clock + 1, Date.now()));

  // The queue: a key of localStorage for each item, so that tabs never overwrite each other's.
  const drop = (item, isLost) => {
    remove(item.key);
    // Not delivered, so the same identity counts as changed when the page pushes it again.
    if (isLost && item.mark && get(LAST)?.startsWith(item.mark)) remove(LAST);
  };
  const read = (key) => {
    try {
      const item = { ...JSON.parse(get(key)), key };
      if (Math.abs(Date.now() - item.body.occurred_at) < AGE_MAX && item.tries < TRIES_MAX) return item;
      drop(item, true);
    } catch {
      remove(key);
    }
  };
  // Keys begin with the time.
  const order = () => keys(QUEUE).sort();
  const save = ({ key, ...item }) => get(key) && set(key, JSON.stringify(item));

  const put = silently((kind, text, at) => {
    const body = { ...JSON.parse(text), visitor_id: visitor(), occurred_at: at };
    const key = `${QUEUE}${at}.${random()}`, item = { kind, body, tries: 0, lease: 0 };
    if (debug != null) explain(kind, body);
    if (kind === "authenticate") {
      item.mark = hash(api + writeKey + body.visitor_id + text);
      const [mark, since] = (get(LAST) || "").split(" ");
      // A visitor whom subdomains share may have become someone else on another one, which does not change LAST here.
      if (!cookieDomain && mark === item.mark && Math.abs(at - since) < DAY) return say("unchanged, not sent");
    }
    item.bytes = new TextEncoder().encode(JSON.stringify(item)).length;
    if (item.bytes > REQUEST_BYTES_MAX) return say("too large, not sent");
    set(key, JSON.stringify(item));
    const all = order();
    let total = all.reduce((sum, one) => sum + (get(one) || "").length, 0);
    while (all.length > ITEMS_MAX || total > SIZE_MAX) {
      const oldest = all.shift();
      total -= (get(oldest) || "").length;
      drop({ mark: read(oldest)?.mark, key: oldest }, true);
    }
    if (item.mark) (memory.has(key) ? memory : { set }).set(LAST, item.mark + " " + at);
    // Who the visitor is may have changed.
    else if (/^userSigned/.test(body.type)) remove(LAST);
    queueMicrotask(flush);
  });

  const due = () => {
    const batch = [];
    let bytes = 0;
    for (const key of order()) {
      const item = read(key);
      if (!item || (item.lease > Date.now() && item.lease <= Date.now() + LEASE)) continue;
      bytes += item.bytes;
      const fits = item.kind === "events" && batch[0]?.kind === "events" && bytes <= REQUEST_BYTES_MAX;
      if (batch.length && (!fits || batch.length === BATCH_MAX)) break;
      batch.push(item);
    }
    return batch;
  };
  const pause = () => {
    const left = get(PAUSE) - Date.now();
    return left > 0 && left <= PAUSE_MAX ? left : 0;
  };
  const post = (path, body) =>
    fetch(api + path, {
      method: "POST", body: JSON.stringify(body), keepalive: true, credentials: "omit",
      signal: AbortSignal.timeout?.(TIMEOUT),
    });

  const send = async (batch) => {
    const { kind, tries } = batch[0], now = Date.now();
    const bodies = batch.map(({ body }) => ({ ...body, sent_at: now }));
    for (const item of batch) save(Object.assign(item, { tries: item.tries + 1, lease: now + LEASE }));
    let status = 0, wait = 0;
    try {
      const answer = await post(kind, { write_key: writeKey, ...(kind === "events" ? { events: bodies } : bodies[0]) });
      // Until its answer is read, a request takes room from those that are kept alive.
      await answer.text();
      status = answer.status;
      wait = Math.min(answer.headers.get("retry-after") * 1e3 || 0, PAUSE_MAX);
    } catch {}
    isUnanswered = !status;
    say(kind, status || "no answer");
    if (status && status < 500 && status !== 408 && status !== 429) {
      for (const item of batch) drop(item, status >= 400);
      remove(PAUSE);
    } else if (allowed) {
      // What was cut off has probably arrived.
      for (const item of batch) save({ ...item, lease: status ? 0 : Date.now() + 2e3 });
      const backoff = Math.min(1e3 * 2 ** tries, BACKOFF_MAX) * (0.5 + Math.random() / 2);
      set(PAUSE, String(Date.now() + Math.max(wait, backoff)));
    }
  };
  let busy = false, isUnanswered = false, timer;
  const flush = async (isHiding, isLeaving) => {
    if (!allowed || (busy && !isHiding)) return;
    busy ||= !isHiding;
    try {
      // To leave a page cuts off what is being sent, so then "no answer" says nothing of the service. To hide one does
      // not, and who switches tabs while the service is away would use up the tries.
      const mayGo = () => allowed && navigator.onLine !== false && (!pause() || (isLeaving && isUnanswered));
      for (let batch; mayGo() && (batch = due()).length; ) {
        const sent = send(batch);
        if (!isHiding) await sent;
      }
    } catch (error) {
      say(error);
    }
    if (isHiding) return;
    busy = false;
    clearTimeout(timer);
    const items = allowed && navigator.onLine !== false ? order().map(read).filter(Boolean) : [];
    const lease = Math.min(...items.map((item) => item.lease)) - Date.now();
    if (items.length) timer = setTimeout(flush, Math.max(pause(), Math.min(lease, LEASE), 500));
  };

  const explain = async (kind, body) => {
    try {
      const answer = await post("validate/" + kind, { write_key: writeKey, ...(kind === "events" ? { events: [body] } : body) });
      const told = await answer.json();
      if (told.code) say(told.status, told.code, told.message);
      for (const result of told.results || [told]) {
        if (result.refusal) say("refused:", result.refusal, result.hint);
        for (const { field, path, raw, reason, code, hint } of [result.fields, result.errors, result.left_out].flat())
          if (reason || code) say("skipped:", field || path, raw ?? "", reason || code, hint);
      }
    } catch (error) {
      say("cannot be explained:", error);
    }
  };

  // Consent: undefined until it is asked for. What is said meanwhile waits in memory.
  let allowed = consent === "required" ? undefined : true, waiting = [];
  const accept = (kind, text) => {
    const at = tick();
    if (allowed) put(kind, text, at);
    else if (allowed === undefined && waiting.length < ITEMS_MAX) waiting.push([kind, text, at]);
  };
  const setConsent = silently((given) => {
    const held = waiting;
    waiting = [];
    allowed = !!given;
    if (allowed) {
      visitor();
      for (const values of held) put(...values);
      flush();
    } else {
      for (const key of [VISITOR, LAST, PAUSE, ...keys(QUEUE)]) remove(key);
      writeCookie("", 0);
      visitorId = undefined;
    }
  });

  // The pushed object alone is read, at once, and copied: pages change theirs later, and GTM's model remembers others'.
  const seen = new WeakSet();
  const take = silently((entry) => {
    if (Object.prototype.toString.call(entry) !== "[object Object]" || entry.event !== "clIdentity") return;
    seen.add(entry);
    const params = Object(entry.params), body = {};
    for (const sent in FIELDS) body[FIELDS[sent]] = params[sent] ?? params[FIELDS[sent]];
    accept("authenticate", JSON.stringify(body));
  });
  let layer;
  const listen = silently(() => {
    const found = (window.dataLayer ||= []);
    if (found === layer || !Array.isArray(found)) return;
    layer = found;
    const { push } = found;
    found.push = function (...entries) {
      const result = push.apply(found, entries);
      entries.forEach(take);
      return result;
    };
    for (let i = 0, length = found.length; i < length; i++) if (!seen.has(found[i])) take(found[i]);
  });

  let api;
  silently(() => {
    const sdk = ((window.clWidget ||= {}).clSdk ||= {});
    if (!writeKey || sdk.consent) return;
    api = (endpoint || new URL(script.src).origin).replace(/\/+$/, "") + "/api/v1/";
    sdk.consent = setConsent;
    (sdk.clRe ||= {}).record = silently((type, values) =>
      accept("events", JSON.stringify({ ...values, type, event_id: random() })),
    );
    if (allowed) visitor();
    listen();
    // Until then the page's own markup may still assign it anew.
    for (const event of ["DOMContentLoaded", "load"]) addEventListener(event, listen);
    addEventListener("online", () => flush(remove(PAUSE)));
    addEventListener("pagehide", () => flush(true, true));
    addEventListener("visibilitychange", () => document.visibilityState === "hidden" && flush(true));
    // Withdrawn in another tab.
    addEventListener("storage", ({ key, newValue }) => key === VISITOR && !newValue && setConsent(false));
    flush();
    window.createClWidget ||= () => window.clWidget;
    if (typeof window.onClWidgetScriptLoad === "function") queueMicrotask(window.onClWidgetScriptLoad);
  })();
})();
