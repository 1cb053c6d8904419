import { readFileSync, writeFileSync } from "node:fs";
import { z } from "zod";
import { UsageError } from "../tools/command-line";

const targetSchema = z.object({
  /** `ratio`: our figure divided by the reference's. `ours`: our figure itself. */
  of: z.enum(["ratio", "ours"]),
  atMost: z.number().optional(),
  atLeast: z.number().optional(),
});

const figureShape = {
  value: z.number(),
  p95: z.number().optional(),
  p99: z.number().optional(),
  /** Processor time per task, in microseconds: of the storing and waiting processes, and of the server. */
  clientMicros: z.number().optional(),
  serverMicros: z.number().optional(),
};

const rowSchema = z.object({
  name: z.string(),
  unit: z.enum(["ms", "/s", "B", "µs", ""]),
  target: targetSchema.optional(),
  /** Our figure: the median of the rounds. For latencies this is the p50. Absent if nothing was measured. */
  ...figureShape,
  value: figureShape.value.optional(),
  reference: z.object({ name: z.string(), ...figureShape, value: figureShape.value.optional() }).optional(),
  /**
   * Our figure divided by the reference's: the median of the rounds' ratios. Both sides of a round run in direct
   * succession, so a slow phase of the machine affects both.
   */
  ratio: z.number().optional(),
  /** Distance from the lowest to the highest ratio of the rounds, or to the highest figure if there is no ratio. */
  spread: z.number().optional(),
  /** Absent without a target or a measurement. */
  isMet: z.boolean().optional(),
  /** The figures of each round. */
  rounds: z.array(z.object({ ours: z.number(), reference: z.number().optional() })).optional(),
  /** Why nothing was measured. */
  notMeasured: z.string().optional(),
  /** The error that ended the row. */
  failure: z.string().optional(),
});

const resultSchema = z.object({
  /** Changes when older files can no longer be compared. */
  format: z.literal(1),
  isQuick: z.boolean(),
  rounds: z.number(),
  machine: z.object({
    node: z.string(),
    postgres: z.string(),
    system: z.string(),
    processor: z.string(),
    cores: z.number(),
    /** Median of an fdatasync on the disk of the server, in milliseconds. */
    fdatasyncMs: z.number(),
  }),
  rows: z.array(rowSchema),
});

export type Target = z.infer<typeof targetSchema>;
export type RowResult = z.infer<typeof rowSchema>;
export type BenchResult = z.infer<typeof resultSchema>;

/**
 * Writes synchronously, so that an interrupted run leaves a whole file.
 *
 * @throws {@link UsageError} The file cannot be written.
 */
export function writeResult(path: string, result: BenchResult): void {
  try {
    writeFileSync(path, `${JSON.stringify(result, undefined, 2)}\n`);
  } catch (error) {
    throw new UsageError(`The result cannot be written to ${path}: ${(error as Error).message}`, { cause: error });
  }
}

/** @throws {@link UsageError} The file cannot be read, or this bench has not written it. */
export function readResult(path: string): BenchResult {
  let content: unknown;
  try {
    content = JSON.parse(readFileSync(path, "utf8"));
  } catch (error) {
    throw new UsageError(`The earlier result ${path} cannot be read: ${(error as Error).message}`, { cause: error });
  }
  const { data, error } = resultSchema.safeParse(content);
  if (data === undefined) throw new UsageError(`${path} is not a result of this bench:\n${z.prettifyError(error)}`);
  return data;
}
