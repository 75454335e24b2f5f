// node jsdom.mjs: clients in jsdom, where websites run their own tests. It brings no fetch: Node's is lent.
import { JSDOM } from "jsdom";
import { serve } from "./lines.mjs";
import { bundle, html } from "./page.mjs";

const origin = "http://localhost:3000";
let window;

function site(name, host, key) {
  window?.close();
  ({ window } = new JSDOM(html(host, key), { url: `${origin}/landing`, runScripts: "dangerously", pretendToBeVisual: true }));
  const { Request, Response, TextEncoder, TextDecoder } = globalThis;
  Object.assign(window, { Request, Response, TextEncoder, TextDecoder });
  window.fetch = (input, init) => {
    const headers = new Headers(init?.headers);
    headers.set("origin", origin);
    return fetch(input, { ...init, headers });
  };
  window.eval(bundle(name));
}

await serve((line) => {
  if (line.call === "site") site(...line.args);
  else if (line.call !== "open") return window.ask(line); // there is one page only
  return { value: null };
});
process.exit(0);
