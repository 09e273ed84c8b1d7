// What screens of operations say as long as there is none.

import CellScreen

extension Desk {
  /// Says what is to be done first; `then` is what becomes of it.
  func putNothingDone(_ then: String, in area: Rect, on canvas: inout Canvas) {
    var how = ""
    if let lesson, lesson.exercise == nil, lesson.phase == .doing, !lesson.left.isEmpty {
      how = " \(key(.lesson, "next")) does that of the lesson."
    }
    let words =
      session.refusal == nil
      ? "No operation was done yet. \(key(.write)) writes, \(key(.discard)) discards; then \(then).\(how)"
      : "No operation was done yet, and none can be: the image is not written to."
    let inner = area.inset(1, 0)
    for (row, line) in TextWrap.wrap(words, width: inner.width).prefix(inner.height).enumerated() {
      canvas.put(line, at: inner.x, inner.y + row, maxWidth: inner.width)
    }
  }
}
