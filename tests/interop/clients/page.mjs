// The page that a website would serve: one client of pages/, bundled, and the address and key that it is to use.
import { fileURLToPath } from "node:url";
import { buildSync } from "esbuild";

const bundles = new Map();

export function bundle(name) {
  if (!bundles.has(name)) bundles.set(name, build(name));
  return bundles.get(name);
}

function build(name) {
  const entry = fileURLToPath(new URL(`pages/${name}.js`, import.meta.url));
  return buildSync({ entryPoints: [entry], bundle: true, write: false, format: "iife" }).outputFiles[0].text;
}

export function html(host, key) {
  return `<!doctype html><html><head><title>Shop</title><script>window.settings = ${JSON.stringify({ host, key })}</script>
<script type="application/ld+json">{"@context":"https://schema.org","@type":"Product","name":"Tea","sku":"tea-1"}</script>
<script src="/client.js"></script></head><body><a id="link" href="/next">next</a></body></html>`;
}
