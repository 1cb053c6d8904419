/**
 * Ties this process to its parent: calls `leave` when the parent ends it or has ended itself. `leave` may be called
 * twice.
 *
 * Ctrl-C in a terminal reaches every process of the demo. This one ignores it: the parent alone ends all of them in
 * order.
 */
export function followParent(leave: () => void): void {
  process.on("SIGINT", () => undefined);
  process.once("SIGTERM", leave);
  process.once("disconnect", leave);
  // The parent may have ended while this process was starting.
  if (!process.connected) leave();
}
