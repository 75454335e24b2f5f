// node node.mjs HOST KEY: @segment/analytics-node.
import { Analytics } from "@segment/analytics-node";
import { createAsk } from "./ask.js";
import { serve } from "./lines.mjs";

const [host, writeKey] = process.argv.slice(2);
const analytics = new Analytics({ host, writeKey, flushAt: 5, flushInterval: 300 });
analytics.on("error", () => {}); // each call tells its own

const send = (call) => (message) =>
  new Promise((resolve, reject) => analytics[call](message, (error) => (error ? reject(error) : resolve())));

await serve(
  createAsk({
    identify: send("identify"),
    track: send("track"),
    page: send("page"),
    screen: send("screen"),
    group: send("group"),
    alias: send("alias"),
  }),
);
await analytics.closeAndFlush({ timeout: 1000 });
process.exit(0);
