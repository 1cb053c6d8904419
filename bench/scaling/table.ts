import Table from "cli-table3";
import { median } from "../sample";

/** The measurement of one round of a set-up. */
export interface Round {
  readonly setUp: string;
  readonly processes: number;
  /** Results per second. */
  readonly rate: number;
  readonly p50: number;
  readonly p99: number;
  readonly connections: number;
}

/** One row per set-up and number of processes, with the medians of its rounds. The first is the base of comparison. */
export function createTable(rounds: readonly Round[]): string {
  const table = new Table({
    head: ["waiting processes", "notifications by", "results", "kept", "wake-up p50", "p99", "connections"],
    colAligns: ["right", "left", "right", "right", "right", "right", "right"],
    style: { head: [], border: [] },
  });
  const groups = groupsOf(rounds);
  const rateOf = (group: readonly Round[] = []): number => median(group.map(({ rate }) => rate));
  for (const group of groups) {
    const [round] = group;
    if (round === undefined) continue;
    const of = (key: "p50" | "p99" | "connections"): number => median(group.map((each) => each[key]));
    table.push([
      round.processes,
      round.setUp,
      `${Math.round(rateOf(group)).toLocaleString("en")}/s`,
      (rateOf(group) / rateOf(groups[0])).toFixed(2),
      `${of("p50").toFixed(2)} ms`,
      `${of("p99").toFixed(2)} ms`,
      of("connections"),
    ]);
  }
  return table.toString();
}

/** Groups the rounds by set-up and number of processes, in order of first appearance. */
function groupsOf(rounds: readonly Round[]): Round[][] {
  const groups = new Map<string, Round[]>();
  for (const round of rounds) {
    const name = `${round.processes} ${round.setUp}`;
    groups.set(name, [...(groups.get(name) ?? []), round]);
  }
  return [...groups.values()];
}
