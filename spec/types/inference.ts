// Compiled by `npm run types` and never run. It fails to compile if a type is inferred differently.
import { type } from "arktype";
import { mergeMap, type Observable, of } from "rxjs";
import * as v from "valibot";
import { z } from "zod";
import {
  type Chunk,
  defineTask,
  type PostgresResultBackend,
  type ResultBackend,
  ResultValidationError,
  type TaskId,
  type TaskOutcome,
  type WaitOptions,
} from "kojin-postgres";
import { awaitResults, settleResults } from "kojin-postgres/operators";

/** True if two types are the same, not only assignable to one another: `any` equals nothing else. */
type Same<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false;
declare function expectType<Expected>(): {
  of<Actual>(actual: Actual, ...isOther: Same<Actual, Expected> extends true ? [] : [never]): void;
};

interface Size {
  readonly width: number;
  readonly height: number;
}
const resize = defineTask<Size>("resize");
const id = resize.id("42");

export async function typedIds(backend: ResultBackend, found: string): Promise<string> {
  expectType<TaskId<Size>>().of(id);
  expectType<Size>().of(await backend.wait(id, 1_000));
  expectType<Size>().of(await backend.wait(id, { timeoutMs: 1_000 }));
  expectType<Size | undefined>().of(await backend.get(id));
  expectType<PromiseSettledResult<Size>>().of(await backend.waitSettled(id, 1_000));
  expectType<PromiseSettledResult<Size> | undefined>().of(await backend.getSettled(id));
  expectType<Observable<Size>>().of(backend.result$(id));
  expectType<Observable<TaskOutcome<Size>>>().of(backend.results$({ where: resize.is }));

  await backend.store(id, { width: 1, height: 2 });
  await backend.completeGroupMember("group", id, { width: 1, height: 2 });
  // @ts-expect-error - a field is missing
  await backend.store(id, { width: 1 });
  // @ts-expect-error - another type
  await backend.store(id, "small");
  // @ts-expect-error - another type
  await backend.completeGroupMember("group", id, 1);
  // @ts-expect-error - the id has a type, and it is another
  await backend.wait<string>(id, 1_000);
  // @ts-expect-error - the id of a task of another kind
  const other: TaskId<string> = id;

  await backend.delete(id);
  await backend.initGroup("group", [id, resize.id()]);
  if (resize.is(found)) expectType<Size | undefined>().of(await backend.get(found));
  return other;
}

const zodReport = z.object({ at: z.string().transform((text) => new Date(text)) });
const report = defineTask("report", { schema: zodReport });
const order = defineTask("order", { schema: v.object({ lines: v.number() }) });
interface Report {
  at: Date;
}

export async function definedSchemas(backend: ResultBackend): Promise<void> {
  expectType<TaskId<Report, { at: string }>>().of(report.id());
  expectType<TaskId<{ lines: number }>>().of(order.id());
  expectType<Report>().of(await backend.wait(report.id("7"), 1_000));
  expectType<Report | undefined>().of(await backend.get(report.id("7"), { mustExist: true }));
  expectType<PromiseSettledResult<Report>>().of(await backend.waitSettled(report.id("7"), { timeoutMs: 0 }));
  expectType<Observable<Report>>().of(backend.result$(report.id("7")));
  expectType<Observable<TaskOutcome<Report>>>().of(backend.results$({ where: report.is }));
  await backend.store(report.id("7"), { at: "2026-07-01" });
  await backend.completeGroupMember("group", report.id("7"), { at: "2026-07-01" });
  // @ts-expect-error - the output of the schema is not what it reads
  await backend.store(report.id("7"), { at: new Date() });
  // @ts-expect-error - a definition with a type of its own, and a schema of another
  defineTask<Size>("size", { schema: zodReport });
  // @ts-expect-error - not a schema
  defineTask("size", { schema: { at: "string" } });
}

export function operators(backend: ResultBackend, sizes$: Observable<TaskId<Size>>, ids$: Observable<string>): void {
  const options = { timeoutMs: 1_000 };
  expectType<Observable<TaskOutcome<Size>>>().of(sizes$.pipe(awaitResults(backend, options)));
  expectType<Observable<TaskOutcome<Size>[]>>().of(sizes$.pipe(settleResults(backend, options)));
  expectType<Observable<TaskOutcome<Report>>>().of(of(report.id("7")).pipe(awaitResults(backend, options)));
  expectType<Observable<TaskOutcome<unknown>>>().of(ids$.pipe(awaitResults(backend, options)));
  expectType<Observable<TaskOutcome<Size>>>().of(ids$.pipe(awaitResults<Size>(backend, options)));
  const again$ = sizes$.pipe(
    awaitResults(backend, options),
    mergeMap(({ taskId }) => backend.result$(taskId)),
  );
  expectType<Observable<Size>>().of(again$);
  // @ts-expect-error - the ids have a type, and it is another
  sizes$.pipe(awaitResults<string>(backend, options));
}

export async function plainIds(backend: ResultBackend, options: WaitOptions): Promise<Size> {
  expectType<unknown>().of(await backend.wait("task", 1_000));
  expectType<Size>().of(await backend.wait<Size>("task", 1_000));
  expectType<Size>().of(await backend.wait<Size>("task", options));
  expectType<Size>().of(await backend.wait(id, options));
  expectType<Size | undefined>().of(await backend.get<Size>("task"));
  expectType<Observable<TaskOutcome<unknown>>>().of(backend.results$());
  expectType<Observable<TaskOutcome<Size>>>().of(backend.results$<Size>({ where: (taskId) => taskId.length > 3 }));
  await backend.store("task", 1);
  await backend.store<Size>("task", { width: 1, height: 2 });
  // @ts-expect-error - not what the caller says it is
  await backend.store<Size>("task", 1);
  return backend.wait("task", 1_000);
}

interface Order {
  lines: number;
  state: "open" | "paid";
  note?: string | undefined;
}
const zodOrder = z.object({ lines: z.number(), state: z.enum(["open", "paid"]), note: z.string().optional() });
const valibotOrder = v.object({ lines: v.number(), state: v.picklist(["open", "paid"]) });
const arktypeOrder = type({ lines: "number", state: "'open' | 'paid'" });
const zodDate = z.object({ at: z.string().transform((text) => new Date(text)) });
const valibotDate = v.pipe(
  v.string(),
  v.transform((text) => new Date(text)),
);

export async function schemas(backend: PostgresResultBackend): Promise<Size> {
  const timeoutMs = 1_000;
  expectType<Order>().of(await backend.wait("order", { timeoutMs, schema: zodOrder }));
  expectType<Omit<Order, "note">>().of(await backend.wait("order", { timeoutMs, schema: valibotOrder }));
  expectType<{ lines: number; state: "open" | "paid" }>().of(
    await backend.wait("order", { timeoutMs, schema: arktypeOrder }),
  );
  expectType<{ at: Date }>().of(await backend.wait("order", { timeoutMs, schema: zodDate }));
  expectType<Date>().of(await backend.wait("order", { timeoutMs, schema: valibotDate }));
  expectType<Order | undefined>().of(await backend.get("order", { schema: zodOrder }));
  expectType<string | null | undefined>().of(await backend.get("order", { schema: z.string().nullable() }));
  expectType<PromiseSettledResult<Order> | undefined>().of(await backend.getSettled("order", { schema: zodOrder }));
  expectType<PromiseSettledResult<Order>>().of(await backend.waitSettled("order", { timeoutMs, schema: zodOrder }));
  expectType<Observable<Order>>().of(backend.result$("order", { schema: zodOrder }));
  expectType<Observable<Chunk<Order>> & AsyncIterable<Chunk<Order>>>().of(
    backend.chunks$("order", { schema: zodOrder }),
  );
  expectType<Observable<TaskOutcome<Order>>>().of(backend.results$({ schema: zodOrder }));
  expectType<Order[]>().of(await backend.waitGroup("orders", { timeoutMs, schema: zodOrder }));
  expectType<Order[]>().of(await backend.getGroupResults("orders", { schema: zodOrder }));
  expectType<Observable<Order[]>>().of(backend.groupResults$("orders", { schema: zodOrder }));
  expectType<Observable<TaskOutcome<Order>>>().of(backend.groupMembers$("orders", { schema: zodOrder }));

  // @ts-expect-error - the schema gives another type than the caller says
  await backend.wait<Size>("order", { timeoutMs, schema: zodOrder });
  // @ts-expect-error - the schema gives another type than the id has
  await backend.wait(id, { timeoutMs, schema: zodOrder });
  // @ts-expect-error - the schema gives another type than is wanted
  const size: Size = await backend.wait("order", { timeoutMs, schema: zodOrder });
  // @ts-expect-error - not a schema
  await backend.wait("order", { timeoutMs, schema: { lines: "number" } });
  // @ts-expect-error - a wait needs a limit
  await backend.wait("order", { schema: zodOrder });
  return size;
}

export function errors(error: unknown): string | undefined {
  if (!(error instanceof ResultValidationError)) return undefined;
  expectType<string>().of(error.taskId);
  return error.issues[0]?.message;
}
