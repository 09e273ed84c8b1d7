// Questions about the disk that is shown: how it differs from another one, how large a copy would be, what it could do
// without, and what a cluster looks like. Nothing is changed, neither here nor there.

import Cartography
import CellScreen
import Qcow
import QcowFormat
import Storage
import ToolText

extension CommandID {
  static let compare = CommandID("compare")
  static let measure = CommandID("measure")
  static let du = CommandID("du")
  static let looksLike = CommandID("looks-like")
}

enum Answering {
  private static let word = ValueType<String> { word throws(CommandError) in word }

  static let commands: [CommandSpec] = [
    CommandSpec(
      .compare, .looking, arguments: [CommandArgument("FILE", .file, optional: true)],
      options: [
        CommandOption("-F", "FORMAT", word, "the format of FILE, qcow2 or raw; found out if not given"),
        CommandOption("-s", "sizes and what is allocated have to be the same as well"),
      ], hint: "compare",
      help: "say whether the disk that is shown and another one are the same, and go to the first difference",
      check: { command throws(CommandError) in _ = try Comparing(command.arguments) },
      run: { explorer, command throws(CommandError) in
        try compare(try Comparing(command.arguments), explorer.desk)
      }),
    CommandSpec(
      .measure, .looking, hint: "measure",
      help: "how large a copy of the disk that is shown would be, raw and as a new image",
      run: { explorer, _ throws(CommandError) in try measure(explorer.desk) }),
    CommandSpec(
      .du, .looking, hint: "space",
      help: "what the image could do without, in its parts, each with the command that brings it back",
      run: { explorer, _ throws(CommandError) in try space(explorer) }),
    CommandSpec(
      .looksLike, .looking, hint: "looks like",
      help: "what the host cluster under the cursor is said to be, and what its bytes look like",
      run: { explorer, _ throws(CommandError) in try look(explorer.desk) }),
  ]

  private static let givenUp = CommandError("given up; nothing is known")

  // MARK: Another disk

  /// The words of `:compare`.
  private struct Comparing {
    private(set) var file = ""
    private(set) var format: String?
    private(set) var isStrict = false

    init(_ words: [String]) throws(CommandError) {
      var rest = words[...]
      while let word = rest.popFirst() {
        switch word {
        case "-s": isStrict = true
        case "-F":
          guard let format = rest.popFirst() else { throw CommandError("-F needs a format") }
          self.format = format
        default:
          guard file.isEmpty, !word.hasPrefix("-") else {
            throw CommandError(
              "\(CommandID.compare) takes one file; use \(CommandID.compare) [-s] [-F FORMAT] FILE")
          }
          file = word
        }
      }
      guard !file.isEmpty else {
        throw CommandError("\(CommandID.compare) needs FILE; use \(CommandID.compare) [-s] [-F FORMAT] FILE")
      }
    }
  }

  private static func compare(_ asked: Comparing, _ desk: Desk) throws(CommandError) {
    let image = desk.scene.image
    let name = Escaping.human(ByteText.lastPart(of: asked.file))
    if let reason = NewFileVerbs.noData(image) { throw CommandError(reason) }
    let other: any GuestLayer
    do throws(ImageError) {
      let policy = (desk.session.image.options.layers as? ChainOpener)?.policy ?? ChainPolicy()
      other = try ImageOpening.other(
        try LayerName(asked.file, format: asked.format, imagePath: ""), policy)
    } catch { throw CommandError(error.description) }
    var comparison = DiskComparison(image, other, isStrict: asked.isStrict)
    var isStopped = false
    comparison.stops = { done in
      isStopped = desk.files.shouldCancel(done)
      return isStopped
    }
    let difference: DiskComparison.Difference
    do throws(DiskComparison.Failure) { difference = try comparison.run() } catch {
      if isStopped { throw givenUp }
      let which = error.isSecond ? "'\(name)'" : "this disk"
      throw CommandError(
        "guest 0x\(Notation.hex(error.offset)) of \(which) cannot be read: \(error.error.description)")
    }
    let sizes =
      other.virtualSize == image.virtualSize
      ? ""
      : "; the sizes differ: \(Notation.compact(image.virtualSize)) here, "
        + "\(Notation.compact(other.virtualSize)) there"
    switch difference {
    case .none: desk.tell("this disk and '\(name)' hold the same bytes" + sizes)
    case .size: desk.tell("not the same" + sizes)
    case .status(let offset): goTo(offset, "what is allocated differs from '\(name)' first", sizes, desk)
    case .content(let offset): goTo(offset, "the bytes differ from '\(name)' first", sizes, desk)
    }
  }

  private static func goTo(_ offset: UInt64, _ what: String, _ sizes: String, _ desk: Desk) {
    guard offset < desk.geometry.virtualSize else {
      return desk.tell("\(what) at guest 0x\(Notation.hex(offset)), behind the end of this disk" + sizes)
    }
    desk.jump(.guest, offset)
    desk.tell("\(what) at guest 0x\(Notation.hex(offset)), where the cursor is now" + sizes)
  }

  // MARK: Sizes

  private static func measure(_ desk: Desk) throws(CommandError) {
    let image = desk.scene.image
    do throws(ImageError) {
      if let reason = NewFileVerbs.noData(image) { throw ImageError(.unsupported, reason) }
      let options = Image.CreateOptions(size: image.virtualSize)
      let measure = try Measure(options, source: image)
      let bitmaps = measure.bitmaps.map { $0 > 0 ? ", \(Notation.compact($0)) more with bitmaps" : "" } ?? ""
      desk.tell(
        "a copy as qcow2 takes \(Notation.compact(measure.required)) at most\(bitmaps), "
          + "\(Notation.compact(measure.fullyAllocated)) with every cluster allocated; "
          + "raw it is \(Notation.compact(Measure(raw: ByteCount(image.virtualSize)).required)) long")
    } catch { throw CommandError(error.description) }
  }

  private static func space(_ explorer: Explorer) throws(CommandError) {
    let desk = explorer.desk
    let scan = SpaceScan(desk.scene.atlas, blocks: desk.hostBlocks)
    while !scan.step(budgetNanoseconds: 20_000_000) {
      if desk.files.shouldCancel(scan.progress) { throw givenUp }
    }
    let text = SpaceText(scan, of: desk.scene.atlas, name: ByteText.lastPart(of: desk.session.title))
    explorer.overlay = AnswerBox(
      "What the image could do without", text.explorer, desk)
  }

  // MARK: A place

  private static func look(_ desk: Desk) throws(CommandError) {
    let (cursor, scene) = (desk.cursor, desk.scene)
    guard cursor.side == .host || cursor.isTwinned else {
      throw CommandError("no host cluster belongs to this place of the disk")
    }
    guard !desk.host.isData else {
      throw CommandError("of the data file nothing is said but that it holds data")
    }
    guard scene.atlas.isDone else { throw CommandError("the scan is not at its end yet") }
    let cluster = scene.geometry.cluster(of: HostOffset(cursor.host))
    let found: Look?
    do throws(StorageError) { found = try LooksScan(scene.atlas).look(at: cluster) } catch {
      throw CommandError(error.description)
    }
    let place = "host cluster 0x\(Notation.hex(scene.geometry.start(of: cluster).value))"
    guard let found else {
      return desk.tell("\(place): nothing is said of it that its bytes could agree with")
    }
    desk.tell(
      "\(place) is said to be \(Legend.host(found.state).name) and looks like \(found.shape.name)"
        + (found.isBroken ? ", which does not go together" : ""), error: found.isBroken)
  }
}
