// npx tsx examples/recipes/pipeline.ts
//
// A reactive pipeline: ids of tasks → their results → groups → one aggregate. Each step goes on as early as it can, and
// none of them polls.

import { setTimeout as sleep } from "node:timers/promises";
import {
  catchError,
  from,
  ignoreElements,
  lastValueFrom,
  map,
  merge,
  mergeMap,
  type Observable,
  of,
  scan,
  tap,
} from "rxjs";
import { PostgresResultBackend, type TaskFailedError, type TaskOutcome } from "kojin-postgres";
import { type ExampleDatabase, withDatabase } from "../support/database";

interface Page {
  readonly book: string;
  readonly words: number;
}

interface Book {
  readonly title: string;
  /** undefined if a page could not be read. */
  readonly words: number | undefined;
}

const sizes: Readonly<Record<string, number>> = { "A Short Walk": 3, "A Long Walk": 60, "A Torn Book": 5 };
const pageIds = Object.entries(sizes).flatMap(([book, size]) =>
  Array.from({ length: size }, (_, index) => `${book}:${index + 1}`),
);
const bookOf = (pageId: string): string => pageId.split(":")[0] ?? "";

async function main({ url, schema }: ExampleDatabase): Promise<void> {
  await using backend = await PostgresResultBackend.connect(url, { schema });
  await backend.migrate();
  const workers = readPages(backend);
  const total = await lastValueFrom(countWords(backend));
  await workers;
  console.log(`All that could be read: ${total} words.`);
}

/** Emits each completed book with the number of words of all books so far. */
function countWords(backend: PostgresResultBackend): Observable<number> {
  const pages$ = from(pageIds).pipe(
    // ids → results, at most 50 waits at once.
    mergeMap(async (pageId) => outcomeOf(backend, pageId), 50),
    // results → groups, in the order of arrival.
    mergeMap(async (outcome) => finishMember(backend, outcome)),
    ignoreElements(),
  );
  const books$ = from(Object.entries(sizes)).pipe(
    mergeMap(async ([title, size]) => {
      await backend.initGroup(title, size);
      return title;
    }),
    // groups → books, each as its last page arrives.
    mergeMap((title) => bookWhenDone(backend, title)),
    tap(({ title, words }) => console.log(`${title}: ${words === undefined ? "pages are missing" : `${words} words`}`)),
  );
  // books → the aggregate.
  return merge(pages$, books$.pipe(scan((sum, { words = 0 }) => sum + words, 0)));
}

async function outcomeOf(backend: PostgresResultBackend, taskId: string): Promise<TaskOutcome<Page>> {
  return { taskId, ...(await backend.waitSettled<Page>(taskId, 20_000)) };
}

async function finishMember(backend: PostgresResultBackend, outcome: TaskOutcome<Page>): Promise<number> {
  const groupId = bookOf(outcome.taskId);
  return outcome.status === "fulfilled"
    ? backend.completeGroupMember(groupId, outcome.taskId, outcome.value.words)
    : backend.failGroupMember(groupId, outcome.taskId, (outcome.reason as TaskFailedError).cause);
}

function bookWhenDone(backend: PostgresResultBackend, title: string): Observable<Book> {
  return backend.groupResults$<number>(title).pipe(
    map((words) => ({ title, words: words.reduce((sum, count) => sum + count, 0) })),
    // A book that fails does not end the pipeline.
    catchError(() => of({ title, words: undefined })),
  );
}

/** Usually many workers, in other processes. They know pages, not books. */
async function readPages(backend: PostgresResultBackend): Promise<void> {
  const queue = [...pageIds].reverse();
  const lanes = Array.from({ length: 4 }, async () => {
    for (let pageId = queue.pop(); pageId !== undefined; pageId = queue.pop()) {
      await sleep(Math.random() * 10);
      if (pageId === "A Torn Book:4") await backend.fail(pageId, new Error("torn"));
      else await backend.store(pageId, { book: bookOf(pageId), words: 100 } satisfies Page);
    }
  });
  await Promise.all(lanes);
}

void withDatabase(main);
