import { AnalyticsBrowser } from "@segment/analytics-next";
import { createAsk } from "../ask.js";

const { host, key } = window.settings;
let analytics;

window.ask = createAsk({
  async load(options) {
    analytics = AnalyticsBrowser.load({ writeKey: key, cdnURL: host, ...options });
    await analytics.ready();
  },
  identify: async (...args) => void (await analytics.identify(...args)),
  track: async (...args) => void (await analytics.track(...args)),
  page: async (...args) => void (await analytics.page(...args)),
  screen: async (...args) => void (await analytics.screen(...args)),
  group: async (...args) => void (await analytics.group(...args)),
  alias: async (...args) => void (await analytics.alias(...args)),
  reset: () => analytics.reset(),
  ids: async () => {
    const user = await analytics.user();
    return { anonymousId: user.anonymousId(), userId: user.id() };
  },
});
