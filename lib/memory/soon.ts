/**
 * Runs `work` after the calls that are under way. As with a database, nobody is called back from within a call of their own, and what one subscriber does is seen
 * by the others after what it answers to.
 */
export function soon(work: () => void): void {
  // Not queueMicrotask: Jest's fake timers replace it, and waits would stand still until the test runs its ticks.
  void Promise.resolve().then(work);
}
