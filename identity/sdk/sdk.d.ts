// Types of the identity service's browser SDK. Reference them as
// /// <reference path="./sdk.d.ts" />  or list the file under "include" of tsconfig.json.

/** Who the visitor is. Only `customerId` is required; a field that is left out or empty changes nothing. */
interface ClIdentityParams {
  /** The member's own id, which never changes. */
  customerId: string | number;
  email?: string | null;
  name?: string | null;
  /** With + and country code, for example "+886912345678"; else it is skipped. */
  phone?: string | null;
  gender?: "male" | "female" | "other" | "unknown" | null;
  /** YYYY-MM-DD */
  birthday?: string | null;
  address?: string | null;
  /** A JWT that your server signed, for channels that want signed identities. */
  identityToken?: string;
}

/** The dataLayer entry of a sign-in or registration. */
interface ClIdentityEntry {
  event: "clIdentity";
  params: ClIdentityParams;
}

interface ClItem {
  item_id: string;
  item_name: string;
  price: number;
  quantity: number;
  description?: string;
  affiliation?: string;
  coupon?: string;
  discount?: number;
  /** The place in the list, from 1. */
  index?: number;
  item_brand?: string;
  item_category?: string;
  item_category2?: string;
  item_category3?: string;
  item_category4?: string;
  item_category5?: string;
  item_list_id?: string;
  item_list_name?: string;
  item_variant?: string;
  link?: string;
  image_link?: string;
  location_id?: string;
}

interface ClCart {
  items: [ClItem, ...ClItem[]];
  /** ISO 4217, for example "TWD". */
  currency?: string;
}

interface ClPurchase extends ClCart {
  transaction_id: string;
  revenue: number;
  tax?: number;
  shipping?: number;
  coupon?: string;
}

/** Events whose properties are checked here. */
interface ClEvents {
  page_view: { props: { page_path: string; page_title: string } };
  add_to_cart: { props: ClCart };
  remove_from_cart: { props: ClCart };
  purchase: { props: ClPurchase };
}

interface ClRecorder {
  record<Name extends keyof ClEvents>(name: Name, values: ClEvents[Name]): void;
  /** The visitor is nobody any more. Not needed when another member signs in. */
  record(name: "userSignedOut"): void;
  /** Every other event that the service takes; its properties stand beside each other. */
  record<Name extends string>(name: Name extends keyof ClEvents ? never : Name, values?: Record<string, unknown>): void;
}

interface ClSdk {
  clRe: ClRecorder;
  /**
   * Tells the visitor's decision. With data-consent="required" nothing is stored or sent before `true`; `false` deletes
   * the visitor's id, and all that waits, from the browser. The decision itself is not kept: tell it on every page.
   */
  consent(given: boolean): void;
}

// window.dataLayer is not declared here: a page with Google's tag has its own declaration of it, and two may not differ.
// Where there is none: interface Window { dataLayer?: object[] }
interface Window {
  /** There once the script has run. */
  clWidget?: { clSdk: ClSdk };
  createClWidget?: (options?: unknown) => { clSdk: ClSdk };
  /** Called once the script has run: the place for a page's first `record`. */
  onClWidgetScriptLoad?: () => void;
}
