export { startDashboard } from "./dashboard";
export type { Dashboard } from "./dashboard";
export type { DashboardOptions } from "./dashboard-options";
