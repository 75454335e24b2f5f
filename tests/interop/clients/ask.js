// How a driver is told what to do: one JSON object a line, {"call", "args", "waits"}; the answer is {"value"} or {"error"}.

/** Return the function that carries out one line. What is not waited for goes on; "settled" waits for all of it. */
export function createAsk(calls) {
  const started = [];
  async function attempt(call, args) {
    try {
      return { value: (await calls[call](...args)) ?? null };
    } catch (error) {
      return { error: String(error?.message ?? error) };
    }
  }
  return async ({ call, args, waits }) => {
    if (call === "settled") return { value: await Promise.all(started.splice(0)) };
    const outcome = attempt(call, args);
    if (waits) return outcome;
    started.push(outcome);
    return { value: null };
  };
}
