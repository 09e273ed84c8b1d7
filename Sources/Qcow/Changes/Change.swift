// A verb that changes an image as a whole, as a value: what it is called, why it may be refused, and what it
// does. The command table, the dialogs, the help, the manual and the command line are made from it.

package import QcowFormat

/// Something that is done to an image as a whole; guest requests are not changes.
package protocol Change: Sendable {
  /// What people are told of it.
  static var words: ChangeWords { get }

  /// Takes the values that stand behind its name.
  /// - Throws: ``ImageError`` with the code ``ImageError/Code/option`` if they make no sense.
  init(_ values: ChangeValues) throws(ImageError)

  /// The words behind its name that ask for it again.
  var arguments: [String] { get }

  /// Why it cannot be done to `image`, as far as that can be seen at once; nil if it may be tried.
  func refusal(of image: Image) -> String?

  /// What the numbers of a try mean, as a sentence of its own; nil if they speak for themselves. `entries` are
  /// L2 entries that changed, `bytes` those of the guest that were written to the image.
  func meaning(entries: Int, bytes: ByteCount) -> String?

  /// Does it. The image must be flushed or dropped afterwards.
  /// - Throws: ``ImageError``; the image then is as if the program had crashed: leaks at most.
  func run(on image: Image) throws(ImageError)
}

extension Change {
  package var arguments: [String] { [] }

  package func refusal(of image: Image) -> String? { ChangeWords.readOnly(image) }

  package func meaning(entries: Int, bytes: ByteCount) -> String? { nil }

  /// The line that asks for it.
  package var commandLine: String {
    ([Self.words.name] + arguments.map(ChangeWords.quoted)).joined(separator: " ")
  }
}

/// What a verb is called and what people are told of it.
package struct ChangeWords: Sendable {
  /// What an argument is, which says how it is read.
  package enum Kind: Sendable {
    /// Any text.
    case name
    /// The name of a file below the image, as the one above it names it.
    case layer
    /// The name or ID of a snapshot that there is.
    case snapshot
    /// The name of a bitmap that there is.
    case bitmap
    /// A size in bytes, or a change of it.
    case size
    /// A place of the disk in bytes.
    case offset
    /// The name of a file that is looked for from where the program runs.
    case file
    /// Options with their new values, as in "compat=1.1,lazy_refcounts=on".
    case options
  }

  /// A word behind the name.
  package struct Argument: Sendable {
    /// As usage shows it, in capitals.
    package let name: String
    /// How it is read.
    package let kind: Kind

    package init(_ name: String, _ kind: Kind) {
      self.name = name
      self.kind = kind
    }
  }

  /// A flag, or an option with a value.
  package struct Option: Sendable {
    /// As it is typed, with its dashes.
    package let flag: String
    /// What stands behind it; nil for a flag.
    package let value: Argument?
    /// In the explorer's help.
    package let help: String
    /// In the help of the command line, a sentence.
    package let sentence: String

    package init(_ flag: String, value: Argument? = nil, _ help: String, sentence: String) {
      self.flag = flag
      self.value = value
      self.help = help
      self.sentence = sentence
    }
  }

  /// Typed behind `:`.
  package let name: String
  /// Words behind the name, all of them needed.
  package let arguments: [Argument]
  /// Flags, in any place.
  package let options: [Option]
  /// One or two words for the hint line.
  package let hint: String
  /// One sentence in the explorer's help.
  package let help: String
  /// The same for the command line; nil if another subcommand stands for it there.
  package let abstract: String?
  /// Sentences below the abstract.
  package let discussion: String
  /// The tables of snapshots are written, which belong to more than one by right.
  package let writesSharedTables: Bool
  /// An image that is only read because of what it is can take it, and may be written afterwards.
  package let mendsReadOnly: Bool
  /// It sets counts to what is in use, where they are wrong: that is no taking of what others have.
  package let mendsCounts: Bool

  package init(
    _ name: String, arguments: [Argument] = [], options: [Option] = [], hint: String, help: String,
    abstract: String? = nil, discussion: String = "", writesSharedTables: Bool = false,
    mendsReadOnly: Bool = false, mendsCounts: Bool = false
  ) {
    self.name = name
    self.arguments = arguments
    self.options = options
    self.hint = hint
    self.help = help
    self.abstract = abstract
    self.discussion = discussion
    self.writesSharedTables = writesSharedTables
    self.mendsReadOnly = mendsReadOnly
    self.mendsCounts = mendsCounts
  }

  /// The heading of its dialog.
  package var title: String { hint.prefix(1).uppercased() + hint.dropFirst() }

  /// The option of that flag. Declarations name their flags themselves, so that one is there.
  package subscript(flag: String) -> Option {
    options.first { $0.flag == flag } ?? Option(flag, "", sentence: "")
  }

  /// A word as a line takes it: with quotes where it would not be one word.
  package static func quoted(_ word: String) -> String {
    guard word.isEmpty || word.contains(where: { " \t\"\\".contains($0) }) else { return word }
    return "\"" + word.replacing("\\", with: "\\\\").replacing("\"", with: "\\\"") + "\""
  }

  /// Why nothing can be written to `image`; nil if something can.
  static func readOnly(_ image: Image) -> String? {
    image.isWritable ? nil : "this image is only read: " + (image.readOnlyReason ?? "it is open read-only")
  }
}

/// The values behind the name of a verb, in the order and of the kinds that it declares.
package struct ChangeValues: Sendable {
  /// One argument.
  package enum Value: Sendable {
    case text(String)
    case size(DiskSize)
    case options(Amendment)
  }

  package var arguments: [Value]
  /// Flags that were given, as declared.
  package var flags: Set<String>
  /// Options that were given with a value.
  package var options: [String: Value]

  package init(_ arguments: [Value] = [], flags: Set<String> = [], options: [String: Value] = [:]) {
    self.arguments = arguments
    self.flags = flags
    self.options = options
  }

  /// The text behind an option; nil if it was not given.
  package func text(behind flag: String) -> String? {
    if case .text(let text)? = options[flag] { text } else { nil }
  }

  /// The size behind an option; nil if it was not given.
  package func size(behind flag: String) -> DiskSize? {
    if case .size(let size)? = options[flag] { size } else { nil }
  }

  /// The text at a place.
  /// - Throws: ``ImageError`` if there is none.
  package func text(_ index: Int) throws(ImageError) -> String {
    if arguments.indices.contains(index), case .text(let text) = arguments[index] { return text }
    throw ImageError(.option, "a name is missing")
  }

  /// The size at a place.
  /// - Throws: ``ImageError`` if there is none.
  package func size(_ index: Int) throws(ImageError) -> DiskSize {
    if arguments.indices.contains(index), case .size(let size) = arguments[index] { return size }
    throw ImageError(.option, "a size is missing")
  }

  /// The options at a place.
  /// - Throws: ``ImageError`` if there are none.
  package func options(_ index: Int) throws(ImageError) -> Amendment {
    if arguments.indices.contains(index), case .options(let options) = arguments[index] { return options }
    throw ImageError(.option, "an option with its value is missing")
  }
}

/// All verbs. A new one has a file of its own and a line here.
package enum Changes {
  /// In the order of help.
  package static let all: [any Change.Type] = [
    Defrag.self, Pin.self, Unpin.self, CreateSnapshot.self, ApplySnapshot.self, DeleteSnapshot.self,
    Resize.self, AddBitmap.self, RemoveBitmap.self, RemoveAllBitmaps.self, ClearBitmap.self,
    EnableBitmap.self,
    DisableBitmap.self, MergeBitmap.self, Amend.self, CommitDown.self, RebaseOnto.self,
    Repair.self,
  ]
}
