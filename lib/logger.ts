/** Where the library says what an operator should know. `console` fits, and so do pino, winston and their like: each call has one string. */
export interface Logger {
  info(message: string): void;
  warn(message: string): void;
  error(message: string): void;
}
