import { setTimeout as sleep } from "node:timers/promises";
import { badInputSpecs } from "./bad-input";
import { chunkSpecs } from "./chunks";
import { closeSpecs } from "./close";
import { expectSpecs } from "./expect";
import { groupClaimSpecs } from "./group-claims";
import { groupFailureSpecs } from "./group-failures";
import { groupInputSpecs } from "./group-input";
import { groupRaceSpecs } from "./group-races";
import { groupStreamSpecs } from "./group-streams";
import { groupWaitSpecs } from "./group-waits";
import { groupSpecs } from "./groups";
import { resultSpecs } from "./results";
import { schemaSpecs } from "./schemas";
import { streamSpecs } from "./streams";
import { type ConformingBackend, type Specs, Suite } from "./suite";
import { waitSpecs } from "./waits";

/** The two functions of a test framework that the suite needs: those of Jest, Vitest and `node:test` fit. */
export interface SpecRunner {
  describe(title: string, body: () => void): unknown;
  it(title: string, body: () => Promise<void>): unknown;
}

/** Longest time for a spec, in milliseconds: longer than any wait in it that has to succeed. */
const limitMs = 25_000;

const chapters: Readonly<Record<string, Specs>> = {
  results: resultSpecs,
  wait: waitSpecs,
  "expected tasks": expectSpecs,
  streams: streamSpecs,
  schemas: schemaSpecs,
  close: closeSpecs,
  "bad input": badInputSpecs,
  chunks: chunkSpecs,
  groups: groupSpecs,
  "groups with failures": groupFailureSpecs,
  "waiting for groups": groupWaitSpecs,
  "groups under contention": groupRaceSpecs,
  "streams of groups": groupStreamSpecs,
  "claims of groups": groupClaimSpecs,
  "bad input for groups": groupInputSpecs,
};

/**
 * Defines the specs that every backend has to pass. Some take seconds on a database, so allow half a minute for each.
 * Their ids are random, so they can run on storage that is in use. What they store is left to expire.
 *
 * @param name - The subject, for the titles.
 * @param open - Opens another backend on the same storage, which the suite closes. Notifications must reach it at once,
 * so a backend that connects first must have connected.
 * @param runner - `describe` and `it`. Default: the global ones.
 */
export function describeResultBackend(
  name: string,
  open: () => Promise<ConformingBackend>,
  runner: SpecRunner = globalRunner(),
): void {
  runner.describe(name, () => {
    for (const [title, specs] of Object.entries(chapters))
      runner.describe(title, () => defineSpecs(specs, open, runner));
  });
}

function defineSpecs(specs: Specs, open: () => Promise<ConformingBackend>, runner: SpecRunner): void {
  for (const [title, spec] of Object.entries(specs)) {
    runner.it(title, async () => {
      const suite = new Suite(open);
      try {
        await bounded(spec(suite));
      } finally {
        await suite.close();
      }
    });
  }
}

/** A framework abandons a spec that hangs. Its backends would then keep the process from ending. */
async function bounded(spec: Promise<void>): Promise<void> {
  const over = new AbortController();
  const tooLate = sleep(limitMs, undefined, { signal: over.signal }).then(() => {
    throw new Error(`The spec is not over after ${limitMs} ms.`);
  });
  tooLate.catch(() => undefined);
  await Promise.race([spec, tooLate]).finally(() => over.abort());
}

function globalRunner(): SpecRunner {
  const { describe, it } = globalThis as Partial<SpecRunner>;
  if (describe === undefined || it === undefined)
    throw new TypeError("runner: expected describe and it, as globals or as the third argument, got neither.");
  return { describe, it };
}
