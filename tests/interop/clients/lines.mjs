// Reads what to do from standard input until it ends, answers on standard output.
import { createInterface } from "node:readline";

export async function serve(ask) {
  console.log(JSON.stringify({ value: "ready" }));
  for await (const line of createInterface({ input: process.stdin })) {
    console.log(JSON.stringify(await ask(JSON.parse(line))));
  }
}
