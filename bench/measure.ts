import type { Bench } from "./bench";
import type { RowResult, Target } from "./result";
import type { Contest, Row } from "./row";
import { median, NotMeasured, type Sample } from "./sample";

/** Measures both sides of a row in turn. A row that fails does not end the run. */
export async function measure(row: Row, bench: Bench): Promise<RowResult> {
  const { name, unit, target, reference } = row;
  const unmeasured = { name, unit, target, reference: reference && { name: reference.name } };
  let contest: Contest | undefined;
  try {
    contest = await row.prepare(bench);
    return evaluate(row, await alternate(contest, bench.rounds));
  } catch (error) {
    if (error instanceof NotMeasured) return { ...unmeasured, notMeasured: error.message };
    console.error(error);
    // A failed row may have left its processes in any state.
    bench.dismissCrew();
    return { ...unmeasured, failure: error instanceof Error ? error.message : String(error) };
  } finally {
    await contest?.end?.();
  }
}

interface Sides {
  readonly ours: readonly Sample[];
  /** Empty if there is nothing to compare with. */
  readonly reference: readonly Sample[];
}

async function alternate(contest: Contest, rounds: number): Promise<Sides> {
  const [ours, reference]: [Sample[], Sample[]] = [[], []];
  for (let round = 0; round < rounds; round += 1) {
    // Both sides take turns at going first, so that neither gains from a drift of the machine.
    if (round % 2 === 1 && contest.reference !== undefined) reference.push(await contest.reference());
    ours.push(await contest.ours());
    if (round % 2 === 0 && contest.reference !== undefined) reference.push(await contest.reference());
  }
  return { ours, reference };
}

/** Derives a row's figures from its rounds. */
export function evaluate(row: Omit<Row, "prepare">, { ours, reference }: Sides): RowResult {
  const { name, unit, target } = row;
  const rounds = ours.map(({ value }, round) => ({ ours: value, reference: reference[round]?.value }));
  // A counter in ticks may show 0 for a short round, which has no ratio.
  const ratios = rounds.flatMap((round) => (round.reference ? [round.ours / round.reference] : []));
  const ratio = ratios.length === 0 ? undefined : median(ratios);
  const compared = ratio === undefined ? rounds.map((round) => round.ours) : ratios;
  const figures = mediansOf(ours);
  return {
    name,
    unit,
    target,
    ...figures,
    reference: row.reference && { name: row.reference.name, ...mediansOf(reference) },
    ratio,
    spread: Math.max(...compared) - Math.min(...compared),
    isMet: target && isMet(target, target.of === "ratio" ? ratio : figures.value),
    rounds,
  };
}

function mediansOf(samples: readonly Sample[]): Partial<Record<keyof Sample, number | undefined>> {
  const of = (key: keyof Sample): number | undefined => {
    const values = samples.flatMap((sample) => sample[key] ?? []);
    return values.length === 0 ? undefined : median(values);
  };
  return {
    value: of("value"),
    p95: of("p95"),
    p99: of("p99"),
    clientMicros: of("clientMicros"),
    serverMicros: of("serverMicros"),
  };
}

function isMet({ atMost = Infinity, atLeast = -Infinity }: Target, figure: number | undefined): boolean | undefined {
  return figure === undefined ? undefined : figure <= atMost && figure >= atLeast;
}
