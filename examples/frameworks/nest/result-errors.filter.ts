import { type ArgumentsHost, Catch, type ExceptionFilter } from "@nestjs/common";
import type { Response } from "express";
import {
  BackendClosedError,
  DatabaseError,
  GroupFailedError,
  ResultBackendError,
  TaskFailedError,
  TaskNotFoundError,
  WaitTimeoutError,
} from "kojin-postgres";

/** Answers errors of the library with a status of their own, and hides what clients must not see. */
@Catch(ResultBackendError)
export class ResultErrorsFilter implements ExceptionFilter {
  catch(error: ResultBackendError, host: ArgumentsHost): void {
    const response = host.switchToHttp().getResponse<Response>();
    const [status, detail] = describe(error);
    response.status(status).json({ status, code: error.code, detail });
  }
}

function describe(error: ResultBackendError): [status: number, detail: string] {
  if (error instanceof TaskNotFoundError) return [404, "There is no such task."];
  if (error instanceof TaskFailedError) return [500, "The task failed."];
  if (error instanceof GroupFailedError) return [500, "Members of the group failed."];
  if (error instanceof WaitTimeoutError) return [202, "The task has not finished yet."];
  if (error instanceof BackendClosedError || error instanceof DatabaseError) return [503, "Try again later."];
  return [500, "The result could not be read."];
}
