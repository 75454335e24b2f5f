import croct from "@croct/plug";
import { ApiKey } from "@croct/sdk/apiKey";
import { Token } from "@croct/sdk/token";
import { createAsk } from "../ask.js";

const { host, key } = window.settings;

window.ask = createAsk({
  plug: (options) => croct.plug({ appId: key, baseEndpointUrl: host, ...options }),
  unplug: () => croct.unplug(),
  identify: (userId) => croct.identify(userId),
  anonymize: () => croct.anonymize(),
  setToken: (token) => croct.setToken(token),
  track: async (type, payload) => void (await croct.track(type, payload)),
  flushed: () => croct.tracker.flushed,
  userId: () => croct.getUserId(),
  clientId: () => localStorage.getItem("croct.cid"),
  queued: () => JSON.parse(sessionStorage.getItem(`croct[${key}].queue.queue`) ?? "[]").length,
  evaluate: (query) => croct.evaluate(query),
  fetchContent: async (slot, options) => (await croct.fetch(slot, options)).content,
  // operations: [["set", "email", "ana@shop.example"], ["unset", "phone"]]
  edit: async (what, operations) => {
    const patch = croct[what].edit();
    for (const [operation, ...args] of operations) patch[operation](...args);
    await patch.save();
  },
  // The next two are what a website's backend does with the vendor's own package.
  createApiKey: async () => {
    const pair = await crypto.subtle.generateKey({ name: "ECDSA", namedCurve: "P-256" }, true, ["sign", "verify"]);
    const encoded = async (format, half) => btoa(String.fromCharCode(...new Uint8Array(await crypto.subtle.exportKey(format, half))));
    const apiKey = ApiKey.of(crypto.randomUUID(), `ES256;${await encoded("pkcs8", pair.privateKey)}`);
    return {
      apiKey: apiKey.export(),
      kid: await apiKey.getIdentifierHash(),
      publicKey: `-----BEGIN PUBLIC KEY-----\n${await encoded("spki", pair.publicKey)}\n-----END PUBLIC KEY-----`,
    };
  },
  signToken: async (apiKey, subject) => {
    const token = Token.issue(key, subject).withDuration(600);
    return (await token.signedWith(ApiKey.parse(apiKey))).toString();
  },
});
