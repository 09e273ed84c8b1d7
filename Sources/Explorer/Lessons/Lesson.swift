// A lesson: an image made in memory, and steps that each do a command and say what it shows. A lesson
// is a value in a file of its own; a new one is added to `all`.

package import Qcow
import Storage

/// Words and commands on an image of their own.
package struct Lesson: Sendable {
  /// One step.
  package struct Step: Sendable {
    /// The line that is done, as after `:`; nil for a step that only tells.
    package var command: String?
    /// A few sentences, shown after the command was done.
    package var text: KeyText
    /// Words that the log must hold after the step; the tests look for them.
    package var shows: String?

    /// A step that only tells.
    package init(_ text: KeyText) { self.text = text }

    package init(_ command: String, shows: String? = nil, _ text: KeyText) {
      self.command = command
      self.shows = shows
      self.text = text
    }
  }

  /// The image of a lesson.
  package struct Setup: Sendable {
    var size: UInt64
    var extendedL2 = false
    /// All data in one run behind the tables.
    var isPreallocated = false
    /// What the layer below holds everywhere; nil without one.
    var backing: UInt8?
    var policy = MappingPolicy.qemu
  }

  /// What `qatlas lesson` is given.
  package var name: String
  /// What it is about.
  package var title: String
  /// The image it begins with.
  package var setup: Setup
  /// What is done and told.
  package var steps: [Step]

  init(_ name: String, _ title: String, _ setup: Setup, steps: [Step]) {
    self.name = name
    self.title = title
    self.setup = setup
    self.steps = steps
  }

  /// All lessons, in the order in which they build on each other.
  package static var all: [Lesson] {
    [reorder, subclusters, mappedUnallocated, zeroes, zeroClusters, punching, contiguous, pin]
  }

  /// A session on the lesson's image, before its first step.
  ///
  /// - Throws: ``ImageError`` if the engine fails, which a test would notice.
  package func session(files: any SessionFiles) throws(ImageError) -> Session {
    let storage = MemoryStorage(name: name)
    var create = Image.CreateOptions(size: setup.size)
    create.extendedL2 = setup.extendedL2
    create.contiguous = setup.isPreallocated
    create.preallocation = setup.isPreallocated ? .metadata : .off
    var layer: RawLayer?
    if let backing = setup.backing {
      create.backingFile = "base"
      create.backingFormat = "raw"
      layer = RawLayer(MemoryStorage(bytes: [UInt8](repeating: backing, count: Int(setup.size))))
    }
    try Image.create(on: storage, create)
    return try Session(
      storage, title: "lesson \(name)", mode: .scratch, files: files, hasFile: false, backing: layer,
      policies: Policies(setup.policy))
  }
}
