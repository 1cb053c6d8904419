import { MultiBar, Presets, type SingleBar } from "cli-progress";
import type { GroupProgress } from "../../index";
import type { Output } from "../terminal";
import { printable, shortened } from "../text";
import type { WatchEvent, WatchView } from "./events";
import { ratesInWords, toLine } from "./line-view";

/** Lines that are left for results above the bars. */
const linesForResults = 8;
const mostBars = 20;
const nameWidth = 28;
/** A line that is printed takes the place of a bar, which may be longer. */
const clearToEnd = "\u001b[K";

/** On a terminal: results run by above, and below stand the rates and a bar for each open group, as many as there is room for. */
export class BarView implements WatchView {
  readonly #bars: MultiBar;
  readonly #rates: SingleBar;
  readonly #barOf = new Map<string, SingleBar>();
  /** Open groups for which there is no room yet, in the order in which they were seen. */
  readonly #waiting = new Map<string, GroupProgress>();
  readonly #room: number;
  #listener = "connecting";
  #isClosed = false;

  constructor(out: Output) {
    this.#room = Math.max(1, Math.min(mostBars, (out.rows ?? 24) - linesForResults));
    this.#bars = new MultiBar(
      // Signals are ours to handle. A group of unknown size has an empty bar.
      {
        stream: out,
        format: "{name} {bar} {words}",
        barsize: 24,
        hideCursor: true,
        emptyOnZero: true,
        // A bar that has not changed is drawn, too: lines that were printed have moved it.
        forceRedraw: true,
        gracefulExit: false,
      },
      Presets.shades_classic,
    );
    this.#rates = this.#bars.create(1, 0, { words: this.#listener }, { format: "{words}" });
  }

  show(event: WatchEvent): void {
    if (this.#isClosed) return;
    if (event.type === "rates") this.#rates.update(0, { words: `${this.#listener}; ${ratesInWords(event)}` });
    else if (event.type === "group") this.#showGroup(event, event);
    else this.#log(event);
    if (event.type === "listener") this.#listener = event.status;
  }

  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    // Lines are printed with the next redraw; without this one the last ones would be lost.
    this.#bars.update();
    this.#bars.stop();
  }

  #log(event: WatchEvent): void {
    this.#bars.log(`${toLine(event)}${clearToEnd}\n`);
  }

  #showGroup(event: WatchEvent, progress: GroupProgress): void {
    const bar = this.#barOf.get(progress.groupId);
    if (progress.done) {
      this.#log(event);
      this.#waiting.delete(progress.groupId);
      if (bar !== undefined) this.#remove(progress.groupId, bar);
    } else if (bar !== undefined) {
      bar.setTotal(progress.total ?? 0);
      bar.update(progress.completed + progress.failed, payloadOf(progress));
    } else if (this.#barOf.size < this.#room) {
      this.#add(progress);
    } else {
      this.#waiting.set(progress.groupId, progress);
    }
  }

  #add(progress: GroupProgress): void {
    const bar = this.#bars.create(progress.total ?? 0, progress.completed + progress.failed, payloadOf(progress));
    this.#barOf.set(progress.groupId, bar);
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

function payloadOf({ groupId, total, completed, failed }: GroupProgress): { name: string; words: string } {
  const failures = failed === 0 ? "" : `, ${failed} failed`;
  return {
    name: shortened(printable(groupId), nameWidth).padEnd(nameWidth),
    words: `${completed + failed} of ${total ?? "?"}${failures}`,
  };
}
