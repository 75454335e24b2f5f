"""The browser SDK's types, compiled by TypeScript as a website would."""

import subprocess
from pathlib import Path

from identity.sdk import FOLDER as SDK
from tests.interop import stock

RIGHT = """
interface Window { dataLayer?: object[] }
const entry: ClIdentityEntry = { event: "clIdentity", params: { customerId: 42, email: "", gender: "other" } };
(window.dataLayer ||= []).push(entry);
window.onClWidgetScriptLoad = () => window.clWidget?.clSdk.clRe.record("userSignedOut");
const { clRe, consent } = window.createClWidget!().clSdk;
clRe.record("page_view", { props: { page_path: "/", page_title: "Shop" } });
clRe.record("add_to_cart", { props: { items: [{ item_id: "tea", item_name: "Tea", price: 4, quantity: 1 }] } });
clRe.record("search", { query: "tea" });
consent(true);
"""
WRONG = """
// @ts-expect-error the id is missing
const nobody: ClIdentityEntry = { event: "clIdentity", params: { email: "ana@shop.example" } };
// @ts-expect-error not a gender of the field table
const gender: ClIdentityParams = { customerId: "42", gender: "f" };
// @ts-expect-error the service's own name of the field
const named: ClIdentityParams = { customerId: "42", display_email: "ana@shop.example" };
// @ts-expect-error a cart has items
clRe.record("add_to_cart", { props: { items: [] } });
// @ts-expect-error a purchase has an id and a revenue
clRe.record("purchase", { props: { items: [{ item_id: "tea", item_name: "Tea", price: 4, quantity: 1 }] } });
// @ts-expect-error told or not told
consent();
"""


def test_the_types_take_what_the_service_takes_and_refuse_mistakes(tmp_path: Path):
    (tmp_path / "page.ts").write_text(RIGHT + WRONG)
    tsc = str(stock.FOLDER / "node_modules" / ".bin" / "tsc")
    command = [tsc, "--noEmit", "--strict", "--lib", "es2021,dom", str(SDK / "sdk.d.ts"), "page.ts"]

    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)

    assert (ran.stdout, ran.returncode) == ("", 0)
