// The dialog for a new image: the options of `create`, each with what it leads to, and how large the file will be. Enter
// makes the file and goes on with it; one that is there is written over only after a question.

import Cartography
import CellScreen
import Qcow
import Storage
import ToolText

final class NewImageDialog: Overlay {
  /// An option of the image.
  private enum Option: CaseIterable {
    case file, size, clusterSize, extendedL2, version, preallocation, contiguous, pinned, dataFile
    case backingFile, backingFormat, encryption, passphrase, again

    var label: String {
      switch self {
      case .file: "file"
      case .size: "size"
      case .clusterSize: "cluster size"
      case .extendedL2: "extended L2"
      case .version: "compat"
      case .preallocation: "preallocation"
      case .contiguous: "contiguous"
      case .pinned: "pinned"
      case .dataFile: "data file"
      case .backingFile: "backing file"
      case .backingFormat: "its format"
      case .encryption: "encryption"
      case .passphrase: "passphrase"
      case .again: "once more"
      }
    }

    /// The words that it can be, the usual one first; none for those that are typed.
    var choices: [String] {
      switch self {
      case .clusterSize:
        ["64k", "128k", "256k", "512k", "1M", "2M", "512", "1k", "2k", "4k", "8k", "16k", "32k"]
      case .extendedL2, .contiguous, .pinned: ["off", "on"]
      case .version: ["1.1", "0.10"]
      case .preallocation: CreateOptions.Preallocation.allCases.map(\.rawValue)
      case .backingFormat: ["qcow2", "raw"]
      case .encryption: ["none", "luks", "aes"]
      case .file, .size, .dataFile, .backingFile, .passphrase, .again: []
      }
    }

    /// Its name behind `-o`; nil where it is no such option.
    var name: String? {
      switch self {
      case .clusterSize: "cluster_size"
      case .extendedL2: "extended_l2"
      case .version: "compat"
      case .preallocation: "preallocation"
      case .contiguous: "contiguous"
      case .pinned: "pinned"
      case .dataFile: "data_file"
      case .encryption: "encrypt.format"
      default: nil
      }
    }

    var topic: NewImageOutlook.Topic? {
      switch self {
      case .size: .size
      case .clusterSize: .clusterSize
      case .extendedL2: .extendedL2
      case .version: .version
      case .preallocation: .preallocation
      case .contiguous: .contiguous
      case .pinned: .pinned
      case .dataFile: .dataFile
      case .backingFile: .backingFile
      case .encryption: .encryption
      case .file, .backingFormat, .passphrase, .again: nil
      }
    }

    var isSecret: Bool { self == .passphrase || self == .again }
  }

  private let desk: Desk
  private let shelf: any ImageShelf
  private let force: Bool
  private var texts: [Option: LineEditor]
  private var chosen: [Option: Int] = [:]
  private var window = ListWindow(count: 0, height: 1)
  /// What the options lead to, or what is wrong with them.
  private var outlook: NewImageOutlook?
  private var problem: String?
  /// The file is there: this is asked before it is written over.
  private var question: String?

  private static let make = OverlayKey(key: .enter, word: "make it", footer: "make it")
  private static let cancel = OverlayKey(key: .escape, word: "cancel", footer: "cancel")
  private static let next = OverlayKey(key: .tab, word: "next", footer: "next")
  private static let change = OverlayKey(key: .right, word: "change")
  private static let overwrite = OverlayKey(
    key: .character("y"), word: "write over it", footer: "write over it")
  private static let keep = OverlayKey(key: .escape, word: "keep it", footer: "keep it")

  /// Opens the dialog; `file` is the name that the new image begins with.
  static func open(_ explorer: Explorer, file: String, force: Bool) {
    guard let shelf = explorer.shelf else { return }
    explorer.overlay = NewImageDialog(explorer.desk, shelf, file: file, force: force)
  }

  private init(_ desk: Desk, _ shelf: any ImageShelf, file: String, force: Bool) {
    self.desk = desk
    self.shelf = shelf
    self.force = force
    texts = Dictionary(
      uniqueKeysWithValues: Option.allCases.filter { $0.choices.isEmpty }.map { ($0, LineEditor()) })
    texts[.file] = LineEditor(file.isEmpty ? "new.qcow2" : file)
    texts[.size] = LineEditor("10G")
    window = ListWindow(count: options.count, height: 1, selected: file.isEmpty ? 0 : 1)
    texts[active]?.selectAll()
    foretell()
  }

  /// To another option; what is typed there replaces what it offers.
  private func go(by step: Int) {
    window.move(.to((window.selected + step + options.count) % max(1, options.count)))
    texts[active]?.selectAll()
  }

  var hidesCursorText: Bool { true }
  var hints: [Hint] {
    if question != nil { return [Self.overwrite.hint, Self.keep.hint] }
    return [
      Self.make.hint, Self.next.hint,
      Hint("\(Key.left.notation) \(Key.right.notation)", "change", press: Self.change.key), Self.cancel.hint,
    ]
  }

  // MARK: What is chosen

  /// Those that are there for what is chosen so far.
  private var options: [Option] {
    Option.allCases.filter { option in
      switch option {
      case .backingFormat: !text(.backingFile).isEmpty
      case .passphrase, .again: word(.encryption) != "none"
      default: true
      }
    }
  }

  private var active: Option { options[min(window.selected, options.count - 1)] }
  private func text(_ option: Option) -> String { texts[option]?.text ?? "" }
  private func word(_ option: Option) -> String { option.choices[chosen[option] ?? 0] }
  private func word(of option: Option) -> String { option.choices.isEmpty ? text(option) : word(option) }

  /// What is asked for; with `looks` the backing file is opened for its size.
  private func request(looks: Bool) throws(CommandError) -> CreateRequest {
    let file = text(.file)
    guard !file.isEmpty else { throw CommandError("the image needs a name") }
    let lists = Option.allCases.compactMap { option -> String? in
      guard let name = option.name else { return nil }
      let value = word(of: option)
      if value.isEmpty || option == .encryption && value == "none" { return nil }
      return name + "=" + value.unicodeScalars.map { $0 == "," ? ",," : String($0) }.joined()
    }
    let backing = text(.backingFile)
    let size = text(.size)
    do throws(CreateRequest.Refusal) {
      var request = try CreateRequest(
        file: file, size: size.isEmpty ? nil : size, lists: lists, backing: backing.isEmpty ? nil : backing,
        backingFormat: backing.isEmpty ? nil : word(.backingFormat),
        open: looks
          ? { [shelf] (name, format) throws(CreateRequest.Refusal) in
            try shelf.backing(name, format: format, of: file)
          } : nil)
      if let refusal = request.refusal { throw refusal }
      if let encryption = request.encryption {
        request.options.encryption = encryption.encryption(secret(text(.passphrase)))
      }
      if let name = request.dataFile { request.options.dataFile = (name, MemoryStorage()) }
      do throws(ImageError) { try request.options.check() } catch {
        throw CreateRequest.Refusal(error.description)
      }
      return request
    } catch { throw CommandError(error.description) }
  }

  private func secret(_ text: String) -> Secret {
    unsafe ByteText.bytes(text).withUnsafeBytes { unsafe Secret(copying: $0) }
  }

  private func foretell() {
    window.resize(count: options.count)
    outlook = nil
    problem = nil
    do throws(CommandError) {
      // A name that is being typed is not looked for.
      let request = try request(looks: active != .backingFile && active != .file)
      do throws(ImageError) { outlook = try NewImageOutlook(request.options) } catch {
        throw CommandError(error.description)
      }
    } catch { problem = error.description }
  }

  // MARK: Keys

  func press(_ key: Key) -> OverlayOutcome {
    desk.message = nil
    if question != nil {
      question = nil
      return key == Self.overwrite.key ? finish(overwriting: true) : .stays
    }
    switch key {
    case Self.cancel.key, .control("c"):
      desk.tell("given up; no file was made")
      return .closes
    case Self.make.key: return finish(overwriting: false)
    case Self.next.key, .down, .control("n"):
      go(by: 1)
    case .backTab, .up, .control("p"):
      go(by: -1)
    default:
      let option = active
      let count = option.choices.count
      guard count > 0 else {
        let before = text(option)
        _ = texts[option]?.handle(key)
        if text(option) == before { return .stays }
        break
      }
      switch key {
      case .right, .character(" "), .character("l"): chosen[option] = ((chosen[option] ?? 0) + 1) % count
      case .left, .character("h"): chosen[option] = ((chosen[option] ?? 0) + count - 1) % count
      default: return .stays
      }
    }
    foretell()
    return .stays
  }

  func paste(_ text: String) -> OverlayOutcome? {
    guard question == nil, texts[active] != nil else { return nil }
    texts[active]?.insert(text)
    foretell()
    return .stays
  }

  private func finish(overwriting: Bool) -> OverlayOutcome {
    do throws(CommandError) {
      var request = try request(looks: true)
      let file = text(.file)
      var key: Secret?
      if request.encryption != nil {
        guard !text(.passphrase).isEmpty else { throw CommandError("the encryption needs a passphrase") }
        guard ByteText.areSame(text(.passphrase), text(.again)) else {
          throw CommandError("the passphrases differ; type the same one in both places")
        }
        key = secret(text(.passphrase))
      }
      if !overwriting {
        let there = [file, request.dataFile ?? ""].compactMap { name in
          name.isEmpty ? nil : shelf.look(at: name).map { (name, $0) }
        }
        if let (name, look) = there.first {
          question =
            "'\(Escaping.human(name))' is there: \(look.size.map { Notation.compact($0) + ", " } ?? "")"
            + "\(look.kind). What it holds would be lost."
          return .stays
        }
      }
      request.mayEmptyDataFile = overwriting
      return .closesAnd { [shelf, force] explorer throws(CommandError) in
        do throws(ImageError) { try shelf.make(request, at: file) } catch {
          throw CommandError("'\(Escaping.human(file))' is not made: \(error.description)")
        }
        try OtherImages.goOn(with: file, secret: key, force: force, explorer)
      }
    } catch {
      problem = error.description
      desk.tell(error.description, error: true)
      return .stays
    }
  }

  // MARK: The picture

  func draw(_ frame: ScreenFrame, on canvas: inout Canvas) {
    let options = options
    let width = min(96, frame.body.width)
    let isWide = width >= 76
    let outer = frame.body.centred(width: width, height: min(frame.body.height, options.count + 7))
    canvas.fill(outer)
    let keys = question == nil ? [Self.make, Self.next, Self.cancel] : [Self.overwrite, Self.keep]
    let inner = canvas.frame(
      outer, title: "A new image", footer: OverlayKey.footer(keys), focused: true, glyphs: desk.glyphs
    ).inset(1, 0)
    let below = belowLines(width: inner.width, isWide: isWide)
    let (list, rest) = inner.splitTop(max(1, inner.height - below.count))
    window.resize(count: options.count, height: min(options.count, list.height))
    let labelWidth = 15
    let valueWidth = isWide ? min(26, max(16, list.width / 4)) : max(8, list.width - labelWidth)
    for (row, index) in window.visible.enumerated() where row < list.height {
      let option = options[index]
      let y = list.y + row
      let isActive = index == window.selected
      canvas.put(option.label, at: list.x, y, role: .prompt, marks: isActive ? .bold : [])
      drawValue(option, at: Point(x: list.x + labelWidth, y: y), valueWidth, isActive: isActive, on: &canvas)
      guard isWide, let sentence = sentence(option) else { continue }
      let x = list.x + labelWidth + valueWidth + 1
      canvas.put(
        TextWidth.truncated(sentence, to: list.endX - x, glyphs: desk.glyphs), at: x, y, role: .muted)
    }
    for (row, line) in below.enumerated() where row < rest.height {
      canvas.put(
        line, at: rest.x, rest.y + row, role: problem != nil || question != nil ? .warning : .text,
        maxWidth: rest.width)
    }
  }

  private func drawValue(
    _ option: Option, at point: Point, _ width: Int, isActive: Bool, on canvas: inout Canvas
  ) {
    if option.choices.isEmpty {
      var editor = texts[option] ?? LineEditor()
      if option.isSecret { editor = LineEditor(String(repeating: "*", count: editor.characters.count)) }
      if isActive {
        editor.draw(prompt: "", at: point.x, point.y, width: width, on: &canvas)
      } else {
        canvas.put(TextWidth.sanitized(editor.text), at: point.x, point.y, maxWidth: width)
      }
      return
    }
    let text = isActive ? "< \(word(option)) >" : "  \(word(option))"
    canvas.put(text, at: point.x, point.y, marks: isActive ? .selected : [], maxWidth: width)
    if isActive { canvas.cursor = point }
  }

  private func sentence(_ option: Option) -> String? {
    switch option {
    case .file: "seen from the folder of the program's start"
    case .backingFormat: "what the header says of it"
    case .passphrase: "is not stored anywhere"
    case .again: "a slip of the finger would lock the image for good"
    default: option.topic.flatMap { topic in outlook.map { $0.sentence(topic) } }
    }
  }

  /// Below the options: what is wrong or asked, or the sizes; on small screens what the active option leads to.
  private func belowLines(width: Int, isWide: Bool) -> [String] {
    var lines: [String] = []
    if let question {
      lines = TextWrap.wrap(question, width: width)
    } else if let problem {
      lines = TextWrap.wrap(problem, width: width)
    } else {
      if let sentence = sentence(active) {
        lines += TextWrap.wrap("\(active.label): \(sentence)", width: width)
      }
      if isWide, let outlook { lines += TextWrap.wrap(outlook.total, width: width) }
    }
    return [""] + lines
  }
}
