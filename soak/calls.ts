import type { Worker } from "./crew";
import { hangAfterMs, waitMarginMs, writeLimitMs } from "./limits";
import type { Problems } from "./problems";
import { type Ended, now, type Order } from "./protocol";

interface CallUnderWay {
  readonly worker: Worker;
  readonly order: Order;
  readonly hangsAt: number;
  readonly onEnded: (ended: Ended) => void;
}

/** Makes the workers' calls, at once or after a delay, awaits them, and measures them against their limits. */
export class Calls {
  readonly #problems: Problems;
  readonly #timers = new Set<NodeJS.Timeout>();
  readonly #underWay = new Map<number, CallUnderWay>();
  #count = 0;
  #longestPastDeadlineMs = 0;

  constructor(crew: readonly Worker[], problems: Problems) {
    this.#problems = problems;
    for (const worker of crew)
      worker.onReport((report) => {
        if (report.report === "ended") this.#end(report.call, report.ended);
      });
  }

  get underWay(): number {
    return this.#underWay.size;
  }

  /** Milliseconds between a wait's deadline and its end, at the most. */
  get longestPastDeadlineMs(): number {
    return this.#longestPastDeadlineMs;
  }

  /** True if no call is under way and none is delayed. */
  get isIdle(): boolean {
    return this.#underWay.size === 0 && this.#timers.size === 0;
  }

  /** Runs `action`, which makes calls, after a delay. */
  later(delayMs: number, action: () => void): void {
    const timer = setTimeout(() => {
      this.#timers.delete(timer);
      action();
    }, delayMs);
    this.#timers.add(timer);
  }

  /** Drops the delayed calls. */
  cancelLater(): void {
    for (const timer of this.#timers) clearTimeout(timer);
    this.#timers.clear();
  }

  issue(worker: Worker, order: Order, onEnded: (ended: Ended) => void): void {
    const call = (this.#count += 1);
    this.#underWay.set(call, { worker, order, hangsAt: now() + limitOf(order) + hangAfterMs, onEnded });
    worker.send({ call, order });
  }

  /** Finds calls that should have ended. Streams are checked only when the run is over. */
  findHung(isOver = false): void {
    for (const [call, { worker, order, hangsAt }] of this.#underWay) {
      if (!isOver && now() < hangsAt) continue;
      this.#underWay.delete(call);
      this.#problems.add("hung", `${worker.name}: ${JSON.stringify(order).slice(0, 200)}`);
    }
  }

  #end(call: number, ended: Ended): void {
    const underWay = this.#underWay.get(call);
    if (underWay === undefined) return;
    this.#underWay.delete(call);
    const { worker, order } = underWay;
    const tookMs = ended.endedAt - ended.startedAt;
    if (ended.outcome === "wrong")
      this.#problems.add("wrong answer", `${worker.name}: ${describe(order)} ${ended.detail}`);
    if ("timeoutMs" in order)
      this.#longestPastDeadlineMs = Math.max(this.#longestPastDeadlineMs, tookMs - order.timeoutMs);
    if (tookMs > limitOf(order))
      this.#problems.add(
        "overdue",
        `${worker.name}: ${describe(order)} took ${Math.round(tookMs)} ms: ${ended.outcome} ${ended.detail}`,
      );
    underWay.onEnded(ended);
  }
}

function limitOf(order: Order): number {
  if ("timeoutMs" in order) return order.timeoutMs + waitMarginMs;
  return order.what === "followGroup" ? Infinity : writeLimitMs;
}

function describe(order: Order): string {
  const about = "taskId" in order ? order.taskId : "group" in order ? order.group.groupId : order.groupId;
  return `${order.what} ${about}${"timeoutMs" in order ? ` (${order.timeoutMs} ms)` : ""}`;
}
