/**
 * Ties this process to its parent: `leave` is called when the parent ends it, or is gone. It may be called twice.
 *
 * Ctrl-C in a terminal reaches every process of the demo. Here it is ignored: the parent alone decides, and ends all of them in order.
 */
export function followParent(leave: () => void): void {
  process.on("SIGINT", () => undefined);
  process.once("SIGTERM", leave);
  process.once("disconnect", leave);
  // It may have gone while this process was starting.
  if (!process.connected) leave();
}
