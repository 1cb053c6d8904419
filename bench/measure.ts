import type { Bench } from "./bench";
import type { Contest, Row } from "./row";
import { NotMeasured, type Sample } from "./sample";
import { median } from "./statistics";

/** One side of a row: its rounds, and their medians. */
export interface Side extends Sample {
  readonly rounds: readonly Sample[];
}

export interface Figures {
  readonly ours?: Side;
  readonly reference?: Side;
  /**
   * The product's figure divided by the reference's: the median of the rounds' ratios. Both sides of a round run in
   * direct succession, so a slow phase of the machine affects both.
   */
  readonly ratio?: number;
  /** True if the target is met; undefined without a target or a measurement. */
  readonly isMet?: boolean;
  /** Why nothing was measured. */
  readonly notMeasured?: string;
  /** The error that ended the row. */
  readonly failure?: string;
}

/** Measures both sides of a row in turn. A row that fails does not end the run. */
export async function measure(row: Row, bench: Bench): Promise<Figures> {
  let contest: Contest | undefined;
  try {
    contest = await row.prepare(bench);
    const [ours, reference] = await alternate(contest, bench.rounds);
    return { ours, ...(reference === undefined ? {} : { reference }), ...evaluate(row, ours, reference) };
  } catch (error) {
    if (error instanceof NotMeasured) return { notMeasured: error.message };
    console.error(error);
    // A failed row may have left its processes in any state.
    bench.dismissCrew();
    return { failure: error instanceof Error ? error.message : String(error) };
  } finally {
    await contest?.end?.();
  }
}

async function alternate(contest: Contest, rounds: number): Promise<[Side, Side | undefined]> {
  const [ours, reference]: [Sample[], Sample[]] = [[], []];
  for (let round = 0; round < rounds; round += 1) {
    // Both sides take turns at going first, so that neither gains from a drift of the machine.
    if (round % 2 === 1 && contest.reference !== undefined) reference.push(await contest.reference());
    ours.push(await contest.ours());
    if (round % 2 === 0 && contest.reference !== undefined) reference.push(await contest.reference());
  }
  return [toSide(ours), reference.length === 0 ? undefined : toSide(reference)];
}

function toSide(rounds: readonly Sample[]): Side {
  const of = (key: "p95" | "p99"): number | undefined => {
    const values = rounds.flatMap((sample) => sample[key] ?? []);
    return values.length === 0 ? undefined : median(values);
  };
  const [p95, p99] = [of("p95"), of("p99")];
  return {
    rounds,
    value: median(rounds.map(({ value }) => value)),
    ...(p95 === undefined ? {} : { p95 }),
    ...(p99 === undefined ? {} : { p99 }),
  };
}

function evaluate({ target }: Row, ours: Side, reference: Side | undefined): Pick<Figures, "ratio" | "isMet"> {
  const ratios = reference?.rounds.map(({ value }, round) => (ours.rounds[round]?.value ?? NaN) / value);
  const ratio = ratios === undefined ? undefined : median(ratios);
  const figure = target?.of === "ratio" ? ratio : ours.value;
  const { atMost = Infinity, atLeast = -Infinity } = target ?? {};
  return {
    ...(ratio === undefined ? {} : { ratio }),
    ...(target === undefined || figure === undefined ? {} : { isMet: figure <= atMost && figure >= atLeast }),
  };
}
