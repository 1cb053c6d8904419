import { ExitHooks } from "../../lib/embedded/cleanup";

const EVENTS = ["exit", "SIGINT", "SIGTERM", "SIGHUP"];
const listenerCounts = () => EVENTS.map((event) => process.listenerCount(event));
const stoppable = () => ({ stop: () => Promise.resolve(), stopNow: () => undefined });

it("listens only while there is something to stop", () => {
  const hooks = new ExitHooks();
  const before = listenerCounts();
  const [first, second] = [stoppable(), stoppable()];
  hooks.add(first);
  hooks.add(second);
  expect(listenerCounts()).toEqual(before.map((count) => count + 1));
  hooks.delete(first);
  hooks.delete(first);
  expect(listenerCounts()).toEqual(before.map((count) => count + 1));
  hooks.delete(second);
  expect(listenerCounts()).toEqual(before);
});
