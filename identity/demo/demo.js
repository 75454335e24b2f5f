// The desk around the two shops: asks what the service holds of the sample customers, and shows it.
(() => {
  "use strict";
  const DEVICES = { laptop: "Laptop", phone: "Phone" };
  const NAMES = { ana: "Ana", bo: "Bo" };
  const FIELDS = {
    display_name: "Name", display_email: "E-mail", display_mobile: "Mobile", birth: "Birthday", gender: "Gender",
  };
  const VERDICTS = {
    set: "set", overwrote: "replaced", unchanged: "unchanged", skipped_invalid: "skipped", ignored_empty: "ignored",
    skipped_older: "older", kept_existing: "kept", unset: "removed",
  };
  const EVENTS = {
    page_view: () => "looked at the shop",
    add_to_cart: (props) => `put ${listed(props)} in the cart`,
    purchase: (props) => `bought ${listed(props)} for $${props.revenue}`,
  };
  const POLL_MILLISECONDS = 700;
  const SAID_MAX = 8;
  const listed = (props) => props.items.map((item) => item.item_name).join(", ");
  const find = (id) => document.getElementById(id);
  const make = (tag, className, ...children) => {
    const element = document.createElement(tag);
    element.className = className;
    element.append(...children);
    return element;
  };

  // Nobody else can guess whose sample customers these are.
  const random = () =>
    [...crypto.getRandomValues(new Uint8Array(8))].map((byte) => (byte + 256).toString(16).slice(1)).join("");
  if (!/^[0-9a-f]{16}$/.test(localStorage.getItem("demo.run")))
    localStorage.setItem("demo.run", random());
  const run = localStorage.getItem("demo.run");

  const isWide = matchMedia("(min-width: 60rem)").matches;
  document.querySelector("#laptop details").open = isWide;
  const startOver = () => {
    for (const frame of document.querySelectorAll("iframe")) frame.remove();
    for (const key of Object.keys(localStorage)) if (/^(demo\.|laptop|phone)/.test(key)) localStorage.removeItem(key);
    for (const device of Object.keys(DEVICES)) document.cookie = `${device}Visitor=;path=/;max-age=0;samesite=lax`;
    location.reload();
  };
  const openPhone = () => {
    const frame = make("iframe", "");
    frame.src = "/demo/shop.html?device=phone";
    frame.title = "The shop on the phone";
    const said = make("details", "", make("summary", "", "What the page said"), make("ol", "said"));
    said.open = isWide;
    said.lastChild.dataset.said = "phone";
    said.lastChild.tabIndex = 0;
    find("open-phone").replaceWith(frame, said);
    localStorage.setItem("demo.phone.open", "true");
  };
  find("again").addEventListener("click", startOver);
  find("open-phone").addEventListener("click", openPhone);
  if (localStorage.getItem("demo.phone.open")) openPhone();

  const done = (step) => {
    document.querySelector(`[data-step="${step}"]`)?.classList.add("done");
    for (const item of document.querySelectorAll("[data-step]")) item.classList.remove("next");
    document.querySelector("[data-step]:not(.done)")?.classList.add("next");
  };
  done("");
  addEventListener("message", ({ origin, data }) => {
    if (origin !== location.origin) return;
    const list = document.querySelector(`[data-said="${data.device}"]`);
    list?.prepend(make("li", "", make("code", "", data.text)));
    while (list?.children.length > SAID_MAX) list.lastChild.remove();
  });

  const deviceOf = (visitorId) =>
    Object.keys(DEVICES).find((device) => document.cookie.split("; ").includes(`${device}Visitor=${visitorId}`));
  const deviceName = (visitorId) => DEVICES[deviceOf(visitorId)] || "Another browser";
  const time = (text) => {
    const element = make("time", "", new Date(text).toLocaleTimeString());
    element.dateTime = text;
    return element;
  };

  const customerCard = ({ name, customer, events }) => {
    const fields = make("dl", "fields");
    for (const [field, label] of Object.entries(FIELDS))
      if (field in customer.fields) fields.append(make("dt", "", label), make("dd", "", customer.fields[field]));
    const browsers = make("p", "browsers");
    for (const { visitor_id, current } of customer.visitors)
      browsers.append(make("span", current ? "chip now" : "chip", current ? deviceName(visitor_id) : `${deviceName(visitor_id)}, before`));
    const trail = make("ol", "footprint");
    for (const event of events) {
      const visitor = customer.visitors.find(({ visitor_id }) => visitor_id === event.visitor_id);
      const words = EVENTS[event.type]?.(event.props) || event.type;
      const row = make("li", "", make("span", "", `${deviceName(event.visitor_id)}: ${words}`));
      if (visitor && event.occurred_at < visitor.linked_at) row.append(" ", make("span", "note", "before the sign-in"));
      trail.append(row);
    }
    return make("article", "customer",
      make("h3", "", NAMES[name], " ", make("code", "id", customer.customer_id)),
      make("h4", "", "Profile"), fields,
      make("h4", "", "Browsers"), browsers,
      make("h4", "", "Did"), events.length ? trail : make("p", "empty", "Nothing yet."));
  };

  const text = (value) => (value === null ? "" : String(value));
  const mergeRow = (name, merge) => {
    const decisions = make("ul", "decisions");
    for (const { field, verdict, old, new: now, raw, hint } of merge.decisions) {
      if (verdict === "unchanged") continue;
      const value = verdict === "overwrote" ? `${text(old)} → ${text(now)}` : text(now ?? raw);
      const row = make("li", verdict, make("span", "verdict", VERDICTS[verdict]),
        make("span", "", make("strong", "", FIELDS[field] || field), " ", make("span", "value", value)));
      if (hint) row.append(make("span", "hint", hint));
      decisions.append(row);
    }
    return make("li", "merge",
      make("p", "", make("strong", "", NAMES[name]), ` from the ${deviceName(merge.visitor_id).toLowerCase()}, `, time(merge.occurred_at),
        merge.created_customer ? make("span", "note", "new profile") : ""),
      decisions);
  };

  const whose = (samples, device) => {
    for (const { name, customer } of samples)
      if (customer.visitors.some(({ visitor_id, current }) => current && deviceOf(visitor_id) === device)) return name;
  };
  const tick = (samples) => {
    const [ana, bo] = ["ana", "bo"].map((name) => samples.find((sample) => sample.name === name));
    if (JSON.parse(localStorage.getItem("demo.laptop.cart"))?.length || ana?.events.some((event) => event.type === "add_to_cart")) done("browse");
    if (ana) done("ana");
    if (ana?.customer.visitors.some(({ visitor_id }) => deviceOf(visitor_id) === "phone")) done("phone");
    if (bo) done("bo");
    if (bo && !whose(samples, "laptop")) done("out");
  };

  let shown = "";
  const show = (body) => {
    if (body === shown) return;
    shown = body;
    const samples = JSON.parse(body);
    find("customers").replaceChildren(...samples.map(customerCard));
    const merges = samples.flatMap(({ name, merges }) => merges.map((merge) => [name, merge]));
    merges.sort(([, a], [, b]) => (a.merge_id < b.merge_id ? 1 : -1));
    find("merges").replaceChildren(...merges.map(([name, merge]) => mergeRow(name, merge)));
    find("empty").hidden = samples.length > 0;
    find("no-merges").hidden = merges.length > 0;
    for (const element of document.querySelectorAll("[data-whose]")) {
      const name = whose(samples, element.dataset.whose);
      element.textContent = name ? `known as ${NAMES[name]}` : "nobody is known here";
      element.classList.toggle("known", Boolean(name));
    }
  };
  const ask = async () => {
    try {
      const answer = await fetch(`/demo/told?run=${run}`);
      if (!answer.ok) throw new Error(String(answer.status));
      const body = await answer.text();
      show(body);
      tick(JSON.parse(body));
      find("away").hidden = true;
    } catch {
      find("away").hidden = false;
    }
    setTimeout(ask, document.hidden ? 5 * POLL_MILLISECONDS : POLL_MILLISECONDS);
  };
  ask();
})();
