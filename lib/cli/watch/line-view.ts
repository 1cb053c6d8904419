import { layOut } from "../../value/json-text";
import type { Session } from "../session";
import { inDigits, printable } from "../text";
import type { WatchEvent, WatchView } from "./events";
import { groupInWords } from "./words";

/** A group that changes often shows its changes at most that often, but its end at once. */
const groupIntervalMs = 1_000;

/** One line for each event, where there is no terminal, such as in a log. */
export class LineView implements WatchView {
  readonly #session: Session;
  /** When an open group was last shown. */
  readonly #shownAt = new Map<string, number>();

  constructor(session: Session) {
    this.#session = session;
  }

  show(event: WatchEvent): void {
    if (event.type === "group" && !this.#isDue(event.groupId, event.done)) return;
    this.#session.print(toLine(event));
  }

  close(): void {
    this.#shownAt.clear();
  }

  #isDue(groupId: string, isDone: boolean): boolean {
    if (isDone) {
      this.#shownAt.delete(groupId);
      return true;
    }
    const now = performance.now();
    if (now - (this.#shownAt.get(groupId) ?? -Infinity) < groupIntervalMs) return false;
    this.#shownAt.set(groupId, now);
    return true;
  }
}

/** An event on one line. */
export function toLine(event: WatchEvent): string {
  const [kind, words] = describe(event);
  return `${event.at.slice(11, 23)}  ${kind.padEnd(8)}  ${printable(words)}`;
}

function describe(event: WatchEvent): [kind: string, words: string] {
  switch (event.type) {
    case "listener":
      return ["listener", event.status];
    case "group":
      return ["group", `${event.groupId}  ${groupInWords(event)}`];
    case "rates":
      return ["rates", ratesInWords(event)];
    case "result":
      if (event.status === "rejected")
        return ["failed", `${event.taskId}  ${event.failure.name}: ${event.failure.message}`];
      return ["ok", event.value === undefined ? event.taskId : `${event.taskId}  ${layOut(event.value.text)}`];
  }
}

export function ratesInWords(event: Extract<WatchEvent, { type: "rates" }>): string {
  const { resultsPerSecond, results, failures, groupsDone, openGroups } = event;
  return `${resultsPerSecond.toFixed(1)} results/s, ${inDigits(results)} results, ${inDigits(failures)} of them failures, ${inDigits(openGroups)} groups open, ${inDigits(groupsDone)} done`;
}
