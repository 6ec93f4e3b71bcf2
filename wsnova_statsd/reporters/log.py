class LogReporter: pass
