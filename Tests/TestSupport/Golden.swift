// Golden files: what a screen showed when a person last looked at it and agreed.
// `QATLAS_RECORD=1` rewrites them; the run that records fails, so that nobody records by accident.

import Foundation

/// Compares text with `Golden/<name>` beside the calling test file.
///
/// Planes of a screen are joined by the caller with ``goldenPlanes(text:style:)``.
///
/// `difference` says what is not as expected, better than a list of lines where that is possible.
package func checkGolden(
  _ name: String, _ actual: String, file: String = #filePath,
  difference: ((_ expected: String) -> String)? = nil
) throws {
  let folder = URL(fileURLWithPath: file).deletingLastPathComponent().appendingPathComponent("Golden")
  let url = folder.appendingPathComponent(name)
  let text = actual.hasSuffix("\n") ? actual : actual + "\n"
  if ProcessInfo.processInfo.environment["QATLAS_RECORD"] == "1" {
    try FileManager.default.createDirectory(
      at: url.deletingLastPathComponent(), withIntermediateDirectories: true)
    try text.write(to: url, atomically: true, encoding: .utf8)
    throw TestFailure("recorded \(url.path); run again without QATLAS_RECORD")
  }
  guard let expected = try? String(contentsOf: url, encoding: .utf8) else {
    throw TestFailure("there is no golden file \(url.path); record it with QATLAS_RECORD=1")
  }
  if expected != text {
    throw TestFailure("\(name) differs:\n" + (difference?(expected) ?? lineDifference(expected, text)))
  }
}

/// Both planes of a screen as one text.
package func goldenPlanes(text: String, style: String) -> String {
  text + "\n--- style ---\n" + style + "\n"
}

/// The lines that differ, the expected one before the actual one.
func lineDifference(_ expected: String, _ actual: String) -> String {
  let before = expected.split(separator: "\n", omittingEmptySubsequences: false)
  let after = actual.split(separator: "\n", omittingEmptySubsequences: false)
  var report: [String] = []
  for index in 0..<max(before.count, after.count) {
    let old = index < before.count ? String(before[index]) : nil
    let new = index < after.count ? String(after[index]) : nil
    guard old != new else { continue }
    if let old { report.append("\(index + 1) - \(old)") }
    if let new { report.append("\(index + 1) + \(new)") }
  }
  return report.prefix(60).joined(separator: "\n")
}
