import { RudderAnalytics } from "@rudderstack/analytics-js/bundled";
import { createAsk } from "../ask.js";

const { host, key } = window.settings;
const analytics = new RudderAnalytics();

// What the vendor's own host would answer about the source.
const source = { id: "source", name: "shop", writeKey: key, enabled: true, config: {}, destinations: [], connections: [] };

window.ask = createAsk({
  load: (options) =>
    new Promise((resolve) => {
      analytics.ready(resolve);
      analytics.load(key, host, { getSourceConfig: () => ({ source }), ...options });
    }),
  identify: (...args) => delivered("identify", args),
  track: (...args) => delivered("track", args),
  page: (...args) => delivered("page", args),
  group: (...args) => delivered("group", args),
  alias: (...args) => delivered("alias", args),
  reset: (...args) => analytics.reset(...args),
  ids: () => ({ anonymousId: analytics.getAnonymousId(), userId: analytics.getUserId() }),
});

function delivered(call, args) {
  analytics[call](...args);
}
