import { MultiBar, Presets, type SingleBar } from "cli-progress";
import type { TaskFailedError, WaitTimeoutError } from "kojin-postgres";
import type { Fingerprint } from "./tasks";

/** Number of results, and of failures, that get a line of their own. The rest are only counted. */
const maxLines = 15;

/** Shows waits as they end: a line each, with a progress bar below on a terminal. */
export class Screen {
  #bars: MultiBar | undefined;
  #bar: SingleBar | undefined;
  #total = 0;
  #ended = 0;
  #results = 0;
  #failures = 0;

  /** Begins to show `total` waits. */
  open(total: number): void {
    this.#total = total;
    if (!process.stdout.isTTY) return;
    // A MultiBar for a single bar, since only a MultiBar can print lines above it.
    const format = "  {bar} {value} of {total} waits have ended";
    const options = { stream: process.stdout, format, barsize: 30, hideCursor: true, linewrap: true };
    this.#bars = new MultiBar(options, Presets.shades_classic);
    this.#bar = this.#bars.create(total, 0);
  }

  showResult(name: string, { sizeBytes, lines, sha256 }: Fingerprint): void {
    this.#results += 1;
    if (this.#results <= maxLines) {
      const size = sizeBytes.toLocaleString("en").padStart(11);
      this.#print(
        `${size} bytes ${lines.toLocaleString("en").padStart(7)} lines  sha256 ${sha256.slice(0, 12)}…  ${name}`,
      );
    } else if (this.#results === maxLines + 1) {
      this.#print("          … and so on");
    }
    this.#count();
  }

  showFailure(name: string, { failure }: TaskFailedError): void {
    this.#failures += 1;
    if (this.#failures <= maxLines) this.#print(`  failed: ${name}: ${failure.name}: ${failure.message}`);
    this.#count();
  }

  showTimeout({ taskId = "", timeoutMs }: WaitTimeoutError): void {
    this.#print(`  timed out: no result of ${taskId} was stored within ${timeoutMs} ms`);
    this.#count();
  }

  /** Leaves the bar as it is and shows the cursor again. May be called again. */
  close(): void {
    // Lines are printed with the next redraw. Without this one, the last lines would be lost.
    this.#bars?.update();
    this.#bars?.stop();
    this.#bars = undefined;
  }

  #print(line: string): void {
    if (this.#bars) this.#bars.log(`${line}\n`);
    else console.log(line);
  }

  #count(): void {
    this.#ended += 1;
    this.#bar?.update(this.#ended);
    if (this.#bar || this.#results <= maxLines) return;
    const quarter = Math.ceil(this.#total / 4);
    if (this.#ended % quarter === 0 || this.#ended === this.#total) {
      console.log(`  ${this.#ended} of ${this.#total} waits have ended`);
    }
  }
}
