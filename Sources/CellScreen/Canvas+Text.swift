// A canvas as text for golden files, scripts and readers without a screen.
// Two planes: what stands where, and what it means; the second names marks in words to read well in diffs.

extension Canvas {
  /// The rows joined by newlines, without trailing blanks and without a last newline.
  package func text() -> String {
    (0..<height).map { rowText($0) }.joined(separator: "\n")
  }

  /// One row without trailing blanks.
  package func rowText(_ y: Int) -> String {
    var view = String.UnicodeScalarView()
    var end = view.endIndex
    for cell in row(y) where !cell.isContinuation {
      view.append(cell.scalar)
      if cell.combining1 != "\0" { view.append(cell.combining1) }
      if cell.combining2 != "\0" { view.append(cell.combining2) }
      if cell.scalar != " " || cell.combining1 != "\0" { end = view.endIndex }
    }
    return String(view[..<end])
  }

  /// One letter per cell for its role, then one line for every row with marks.
  ///
  /// A line `marks 3: 10-13 selected, 40 twin` counts rows and columns from 0.
  package func stylePlane() -> String {
    var lines: [String] = []
    var marked: [String] = []
    for y in 0..<height {
      var line = String.UnicodeScalarView()
      var end = line.endIndex
      for cell in row(y) {
        line.append(cell.role.planeLetter)
        if cell.role != .text { end = line.endIndex }
      }
      lines.append(String(line[..<end]))
      let runs = markRuns(y)
      if !runs.isEmpty { marked.append("marks \(y): " + runs.joined(separator: ", ")) }
    }
    return (lines + marked).joined(separator: "\n")
  }

  private func markRuns(_ y: Int) -> [String] {
    var runs: [String] = []
    var x = 0
    while x < width {
      let marks = self[x, y].marks
      var end = x + 1
      while end < width && self[end, y].marks == marks { end += 1 }
      if !marks.isEmpty {
        runs.append((end == x + 1 ? "\(x)" : "\(x)-\(end - 1)") + " " + marks.names)
      }
      x = end
    }
    return runs
  }
}
