// How far an amendment is: some steps tell parts of their work, and how much the others will have is guessed
// from those.

/// Makes one measure of the measures of single operations.
final class AmendProgress {
  private let operations: Int
  private let listener: (_ done: Int, _ total: Int) -> Void
  private var completed = 0
  private var before = 0
  private var last: Int?

  /// `operations` are those that will call ``tell(_:of:)``.
  init(_ operations: Int, _ listener: @escaping (Int, Int) -> Void) {
    self.operations = operations
    self.listener = listener
  }

  /// The operation is behind.
  func next() {
    guard let last else { return }
    completed += 1
    before += last
    self.last = nil
  }

  /// The operation has done `part` of `work`, in a unit of its own.
  func tell(_ part: Int, of work: Int) {
    last = work
    let current = before + work
    let projected = current * (operations - completed - 1) / (completed + 1)
    listener(before + part, current + projected)
  }
}
