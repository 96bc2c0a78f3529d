import harness


def pytest_report_header():
    return f"retryshim build: {harness.BUILD}"
