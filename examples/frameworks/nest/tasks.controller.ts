import { Controller, Get, Inject, type MessageEvent, Param, Sse, UseFilters } from "@nestjs/common";
import type { PostgresResultBackend } from "kojin-postgres";
import { map, type Observable } from "rxjs";
import { ResultErrorsFilter } from "./result-errors.filter";
import { RESULTS } from "./results.module";

@Controller()
@UseFilters(ResultErrorsFilter)
export class TasksController {
  constructor(@Inject(RESULTS) private readonly backend: PostgresResultBackend) {}

  @Get("tasks/:id")
  async wait(@Param("id") id: string): Promise<unknown> {
    return this.backend.wait(id, { timeoutMs: 20_000, mustExist: true });
  }

  @Sse("tasks/:id/events")
  chunks(@Param("id") id: string): Observable<MessageEvent> {
    return this.backend
      .chunks$<object>(id)
      .pipe(
        map((chunk) =>
          chunk.kind === "chunk"
            ? { type: "chunk", id: String(chunk.sequence), data: chunk.value }
            : { type: "restart", data: {} },
        ),
      );
  }

  @Sse("groups/:id/events")
  progress(@Param("id") id: string): Observable<MessageEvent> {
    return this.backend
      .group$(id)
      .pipe(map((progress) => ({ type: progress.done ? "done" : "progress", data: progress })));
  }
}
