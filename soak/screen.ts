import { Presets, SingleBar } from "cli-progress";

const lineIntervalMs = 10_000;

export interface Status {
  readonly resolved: number;
  readonly stored: number;
  readonly underWay: number;
  readonly groups: number;
  readonly faults: number;
  readonly problems: number;
}

/** Shows progress: a bar with a line of figures on a terminal, or a line every ten seconds elsewhere, such as in CI. */
export class Screen {
  readonly #durationMs: number;
  readonly #startedAt = performance.now();
  #bar: SingleBar | undefined;
  #lastLineAt = performance.now();

  constructor(durationMs: number) {
    this.#durationMs = durationMs;
    if (!process.stdout.isTTY) return;
    const format = "{bar} {elapsed} | {figures}";
    const options = { stream: process.stdout, format, barsize: 20, hideCursor: true, linewrap: false };
    this.#bar = new SingleBar(options, Presets.shades_classic);
    this.#bar.start(durationMs, 0, { elapsed: "", figures: "" });
  }

  show(status: Status): void {
    const elapsedMs = performance.now() - this.#startedAt;
    const elapsed = `${Math.round(elapsedMs / 1_000)} s`;
    if (this.#bar !== undefined) {
      this.#bar.update(Math.min(elapsedMs, this.#durationMs), { elapsed, figures: figuresOf(status) });
    } else if (performance.now() - this.#lastLineAt >= lineIntervalMs) {
      this.#lastLineAt += lineIntervalMs;
      console.log(`${elapsed.padStart(6)}: ${figuresOf(status)}`);
    }
  }

  /** Shows the cursor again. */
  close(): void {
    this.#bar?.stop();
    this.#bar = undefined;
  }
}

function figuresOf({ resolved, stored, underWay, groups, faults, problems }: Status): string {
  return `${resolved} waits resolved, ${stored} results stored, ${groups} groups completed, ${underWay} calls under way, ${faults} faults, ${problems} problems`;
}
