// node browser.mjs CHROMIUM: clients in Chromium, on pages of another origin than the service's.
import { createServer } from "node:http";
import { chromium } from "playwright-core";
import { serve } from "./lines.mjs";
import { bundle, html } from "./page.mjs";

// Nothing but this machine resolves, so a client that needs any other host fails here.
const browser = await chromium.launch({
  executablePath: process.argv[2],
  args: ["--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"],
});
let website, origin, device, page;
let devices = new Map();
let failures = [];

function watch(opened) {
  opened.on("requestfailed", (request) => failures.push(`${request.method()} ${request.url()}: ${request.failure()?.errorText}`));
  opened.on("pageerror", (error) => failures.push(String(error)));
  return opened;
}

const calls = {
  /** A new website whose pages carry the client, and no device has been there yet. */
  async site(name, host, key) {
    for (const left of devices.values()) await left.close();
    devices = new Map();
    failures = [];
    website?.close();
    const script = bundle(name);
    website = createServer((request, response) => {
      const isScript = request.url === "/client.js";
      response.setHeader("content-type", isScript ? "text/javascript" : "text/html");
      response.end(isScript ? script : html(host, key));
    });
    await new Promise((resolve) => website.listen(0, "127.0.0.1", resolve));
    origin = `http://127.0.0.1:${website.address().port}`;
    await calls.device("laptop");
  },
  /** A browser with a storage of its own; it is made when it is first named. */
  async device(chosen) {
    if (!devices.has(chosen)) devices.set(chosen, await browser.newContext());
    device = devices.get(chosen);
    page = device.pages()[0] ?? watch(await device.newPage());
  },
  async tab() {
    page = watch(await device.newPage());
  },
  async open(path) {
    await page.goto(origin + path);
  },
  async offline(isOffline) {
    await device.setOffline(isOffline);
  },
  async click(selector) {
    await page.click(selector);
  },
  async failures() {
    return failures.splice(0);
  },
};

await serve(async (line) => {
  if (!(line.call in calls)) return page.evaluate((sent) => window.ask(sent), line);
  try {
    return { value: (await calls[line.call](...line.args)) ?? null };
  } catch (error) {
    return { error: String(error) };
  }
});
await browser.close();
website?.close();
