// A website, as any other: it tells the dataLayer who signed in, and clRe.record() what the visitor does. Besides, it
// shows the desk around it what it said.
(() => {
  "use strict";
  const PRODUCTS = [
    { item_id: "oolong", item_name: "High mountain oolong", price: 490 },
    { item_id: "sencha", item_name: "Sencha", price: 320 },
    { item_id: "pot", item_name: "Clay teapot", price: 1280 },
  ];
  const MEMBERS = {
    ana: {
      name: "Ana",
      // The laptop knows a number without its country code, the phone knows better.
      laptop: { name: "Ana", email: "ana@shop.example", phone: "0912 345 678", birthday: "1995-01-31" },
      phone: { name: "Ana Lin", email: "ana@shop.example", phone: "+886 912 345 678", birthday: "1995-01-31" },
    },
    bo: {
      name: "Bo",
      laptop: { name: "Bo", email: "bo@shop.example", gender: "male", birthday: "31/01/1995" },
      phone: { name: "Bo", email: "bo@shop.example", gender: "male", birthday: "1995-01-31" },
    },
  };
  const device = new URLSearchParams(location.search).get("device") === "phone" ? "phone" : "laptop";
  const kept = (name) => JSON.parse(localStorage.getItem(`demo.${device}.${name}`));
  const keep = (name, value) => localStorage.setItem(`demo.${device}.${name}`, JSON.stringify(value));
  const tell = (text, step) => parent.postMessage({ device, text, step }, location.origin);

  window.dataLayer = window.dataLayer || [];
  const identify = (member) => {
    const params = { customerId: `demo-${member}-${localStorage.getItem("demo.run")}`, ...MEMBERS[member][device] };
    window.dataLayer.push({ event: "clIdentity", params });
    tell(`dataLayer.push({event: "clIdentity", params: ${JSON.stringify(params)}})`, member);
  };
  const record = (name, values) => {
    window.clWidget.clSdk.clRe.record(name, values);
    tell(`clRe.record("${name}"${values ? `, ${JSON.stringify(values)}` : ""})`, name);
  };

  // A page that a member opens is signed in from the start, so it says so each time. The SDK sends it once.
  if (kept("member")) identify(kept("member"));
  window.onClWidgetScriptLoad = () =>
    record("page_view", { props: { page_path: "/tea", page_title: "Tea shop" } });

  addEventListener("DOMContentLoaded", () => {
    const find = (id) => document.getElementById(id);
    const make = (tag, text, className = "") => Object.assign(document.createElement(tag), { textContent: text, className });
    const items = () => kept("cart") || [];
    const show = () => {
      const member = kept("member"), cart = items(), count = cart.reduce((sum, item) => sum + item.quantity, 0);
      find("member").textContent = member ? `Hello, ${MEMBERS[member].name}` : "Not signed in";
      find("cart").textContent = count
        ? `In the cart: ${cart.map((item) => `${item.quantity} × ${item.item_name}`).join(", ")}`
        : "The cart is empty.";
      find("buy").hidden = !count;
      find("out").hidden = !member;
      for (const button of document.querySelectorAll("[data-member]")) button.hidden = button.dataset.member === member;
    };
    for (const product of PRODUCTS) {
      const row = make("li", ""), button = make("button", "Add");
      button.type = "button";
      button.setAttribute("aria-label", `Add ${product.item_name} to the cart`);
      button.addEventListener("click", () => {
        const cart = items(), held = cart.find((item) => item.item_id === product.item_id);
        if (held) held.quantity += 1;
        else cart.push({ ...product, quantity: 1 });
        keep("cart", cart);
        record("add_to_cart", { props: { currency: "TWD", items: [{ ...product, quantity: 1 }] } });
        show();
      });
      row.append(make("span", product.item_name), make("span", `$${product.price}`, "price"), button);
      find("products").append(row);
    }
    find("buy").addEventListener("click", () => {
      const cart = items(), revenue = cart.reduce((sum, item) => sum + item.price * item.quantity, 0);
      const transaction_id = `demo-${Date.now()}-${device}`;
      keep("cart", []);
      record("purchase", { props: { transaction_id, revenue, currency: "TWD", items: cart } });
      show();
    });
    for (const button of document.querySelectorAll("[data-member]"))
      button.addEventListener("click", () => {
        if (kept("member")) keep("cart", []); // another member's
        keep("member", button.dataset.member);
        identify(button.dataset.member);
        show();
      });
    find("out").addEventListener("click", () => {
      keep("member", null);
      keep("cart", []);
      record("userSignedOut");
      show();
    });
    show();
  });
})();
