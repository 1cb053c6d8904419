import type { Bench } from "./bench";
import type { Sample } from "./sample";

/** The subject of a target: `ratio` is the product's figure divided by the reference's, `ours` the figure itself. */
export interface Target {
  readonly of: "ratio" | "ours";
  readonly atMost?: number;
  readonly atLeast?: number;
}

/** What a row has prepared for its rounds. */
export interface Contest {
  ours(): Promise<Sample>;
  /** Absent if there is nothing to compare with. */
  reference?(): Promise<Sample>;
  /** Releases what was prepared. */
  end?(): Promise<void> | void;
}

/** One row of the table: a question, and how to measure the answer. */
export interface Row {
  readonly name: string;
  /** The alternative that the product is compared with. */
  readonly reference: string;
  readonly unit: "ms" | "/s" | "B" | "µs" | "";
  /** Absent if the figure is for information only. */
  readonly target?: Target;
  /** @throws {@link NotMeasured} This machine cannot measure it. */
  prepare(bench: Bench): Contest | Promise<Contest>;
}
