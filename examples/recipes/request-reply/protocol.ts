/** A question. Besides the database, the two sides share only this file. */
export interface Question {
  readonly dividend: number;
  readonly divisor: number;
}

const questions = "question:";

export const readyId = "the responder listens";
export const questionId = (id: string): string => `${questions}${id}`;
export const answerId = (id: string): string => `answer:${id}`;
export const isQuestion = (taskId: string): boolean => taskId.startsWith(questions);
export const idOfQuestion = (taskId: string): string => taskId.slice(questions.length);
