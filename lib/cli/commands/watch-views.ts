import { MultiBar, Presets, type SingleBar } from "cli-progress";
import type { TaskFailure } from "../../errors";
import type { GroupProgress, ListenStatus } from "../../index";
import { type JsonText, layOut } from "../../value/json-text";
import type { Session } from "../session";
import { inDigits, printable, shortened } from "../text";
import { describeProgress } from "./groups";

export interface RatesEvent {
  readonly type: "rates";
  readonly results: number;
  readonly failures: number;
  readonly groupsDone: number;
  readonly openGroups: number;
  readonly resultsPerSecond: number;
}

export type UntimedEvent =
  | { readonly type: "listener"; readonly status: ListenStatus }
  | { readonly type: "result"; readonly taskId: string; readonly status: "fulfilled"; readonly value?: JsonText }
  | { readonly type: "result"; readonly taskId: string; readonly status: "rejected"; readonly failure: TaskFailure }
  | ({ readonly type: "group" } & GroupProgress)
  | RatesEvent;

/** An event of `watch`, exactly as `--json` prints it. `at` is the time of this process in ISO 8601. */
export type WatchEvent = { readonly at: string } & UntimedEvent;

/** An open group has at most one line in this time; its end is shown at once. */
const groupIntervalMs = 1_000;

/** Prints one line per event: text for logs, or JSON. */
export class LineView {
  readonly #session: Session;
  readonly #shownAt = new Map<string, number>();

  constructor(session: Session) {
    this.#session = session;
  }

  show(event: WatchEvent): void {
    this.#session.printJson(event);
    if (event.type !== "group" || this.#isDue(event)) this.#session.print(toLine(this.#session, event));
  }

  #isDue({ groupId, done }: GroupProgress): boolean {
    const now = performance.now();
    if (done) this.#shownAt.delete(groupId);
    else if (now - (this.#shownAt.get(groupId) ?? -Infinity) < groupIntervalMs) return false;
    else this.#shownAt.set(groupId, now);
    return true;
  }
}

function toLine(session: Session, event: WatchEvent): string {
  const [kind, text] = describe(event);
  const line = `${event.at.slice(11, 23)}  ${kind.padEnd(8)}  ${printable(text)}`;
  return kind === "failed" ? session.paint("red", line) : line;
}

function describe(event: WatchEvent): [kind: string, text: string] {
  switch (event.type) {
    case "listener":
      return ["listener", event.status];
    case "group":
      return ["group", `${event.groupId}  ${describeProgress(event)}`];
    case "rates":
      return ["rates", describeRates(event)];
    case "result":
      if (event.status === "rejected")
        return ["failed", `${event.taskId}  ${event.failure.name}: ${event.failure.message}`];
      return ["ok", event.value === undefined ? event.taskId : `${event.taskId}  ${layOut(event.value.text)}`];
  }
}

function describeRates({ resultsPerSecond, results, failures, openGroups, groupsDone }: RatesEvent): string {
  return [
    `${resultsPerSecond.toFixed(1)} results/s`,
    `${inDigits(results)} results`,
    `${inDigits(failures)} of them failures`,
    `${inDigits(openGroups)} groups open`,
    `${inDigits(groupsDone)} done`,
  ].join(", ");
}

const rowsForResults = 8;
const maxBars = 20;
const nameWidth = 28;
const progressWidth = 24;
/** A printed line replaces a bar, which may be longer. */
const clearToEnd = "\u001b[K";

/** Draws a terminal: results scroll above a line of rates and a bar for each open group that fits. */
export class BarView {
  readonly #session: Session;
  readonly #bars: MultiBar;
  readonly #rates: SingleBar;
  readonly #barOf = new Map<string, SingleBar>();
  /** Open groups that do not fit yet, in order of their arrival. */
  readonly #waiting = new Map<string, GroupProgress>();
  readonly #room: number;
  #listener = "connecting";

  constructor(session: Session) {
    this.#session = session;
    const { out } = session.terminal;
    this.#room = Math.max(1, Math.min(maxBars, (out.rows ?? 24) - rowsForResults));
    this.#bars = new MultiBar(
      {
        stream: out,
        // The bar last, since a narrow terminal cuts the end of a line.
        format: "{name} {progress} {bar}",
        barsize: 24,
        hideCursor: true,
        // The bar of a group of unknown size stays empty.
        emptyOnZero: true,
        // Printed lines move bars, so bars that have not changed are drawn again, too.
        forceRedraw: true,
        // The program handles signals itself.
        gracefulExit: false,
      },
      Presets.shades_classic,
    );
    this.#rates = this.#bars.create(1, 0, { rates: this.#listener }, { format: "{rates}" });
  }

  show(event: WatchEvent): void {
    if (event.type === "rates") this.#rates.update(0, { rates: `${this.#listener}; ${describeRates(event)}` });
    else if (event.type === "group") this.#showGroup(event);
    else this.#log(event);
    if (event.type === "listener") this.#listener = event.status;
  }

  close(): void {
    // Lines are printed with the next redraw. Without this one the last lines would be lost.
    this.#bars.update();
    this.#bars.stop();
  }

  #log(event: WatchEvent): void {
    this.#bars.log(`${toLine(this.#session, event)}${clearToEnd}\n`);
  }

  #showGroup(event: WatchEvent & GroupProgress): void {
    const { groupId, total, completed, failed, done } = event;
    const bar = this.#barOf.get(groupId);
    if (done) {
      this.#log(event);
      this.#waiting.delete(groupId);
      if (bar !== undefined) this.#remove(groupId, bar);
    } else if (bar !== undefined) {
      bar.setTotal(total ?? 0);
      bar.update(completed + failed, labelsOf(event));
    } else if (this.#barOf.size < this.#room) {
      this.#add(event);
    } else {
      this.#waiting.set(groupId, event);
    }
  }

  #add(progress: GroupProgress): void {
    const { groupId, total, completed, failed } = progress;
    this.#barOf.set(groupId, this.#bars.create(total ?? 0, completed + failed, labelsOf(progress)));
  }

  #remove(groupId: string, bar: SingleBar): void {
    this.#barOf.delete(groupId);
    this.#bars.remove(bar);
    const [next] = this.#waiting.values();
    if (next === undefined) return;
    this.#waiting.delete(next.groupId);
    this.#add(next);
  }
}

function labelsOf({ groupId, total, completed, failed }: GroupProgress): { name: string; progress: string } {
  const failures = failed === 0 ? "" : `, ${failed} failed`;
  return {
    name: shortened(printable(groupId), nameWidth).padEnd(nameWidth),
    progress: `${completed + failed} of ${total ?? "?"}${failures}`.padEnd(progressWidth),
  };
}
