import type { Bench } from "./bench";
import type { Sample } from "./sample";

/** What a target is about: `ratio` is ours by the reference, `ours` the figure itself. */
export interface Target {
  readonly of: "ratio" | "ours";
  readonly atMost?: number;
  readonly atLeast?: number;
}

/** What was made ready for the rounds of a row. */
export interface Contest {
  ours(): Promise<Sample>;
  /** Absent where there is nothing to compare with. */
  reference?(): Promise<Sample>;
  /** Ends what was made ready. */
  end?(): Promise<void> | void;
}

/** One row of the table: a question, and how to find the answer. */
export interface Row {
  readonly name: string;
  /** What ours is compared with. */
  readonly reference: string;
  readonly unit: "ms" | "/s" | "B" | "µs" | "";
  /** Absent where the figure is only told. */
  readonly target?: Target;
  /** @throws {@link NotMeasured} It cannot be measured on this machine. */
  prepare(bench: Bench): Contest | Promise<Contest>;
}
