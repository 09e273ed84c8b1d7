// `qatlas [IMAGE]`: opens the image, then either the terminal or a script drives the explorer.

import ArgumentParser
import Cartography
import CellScreen
import Course
import Explorer
import Glibc
import Qcow
import QcowFormat
import Storage
import TerminalHost

enum ColorChoice: String, ExpressibleByArgument, CaseIterable {
  case auto, always, never
}

extension ThemeName: ExpressibleByArgument {
  /// All of them with what they are for.
  static var sentence: String {
    allCases.map { "\($0.rawValue) \($0.help)" }.joined(separator: "; ")
  }
}

struct Explore: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "explore", abstract: "Explore an image in the terminal, or by a script (default).")

  @Argument(help: "The image; without it a demo image made in memory.", completion: .file())
  var image: String?

  @Flag(name: .customLong("ro"), help: "Refuse all changes.")
  var readOnly = false

  @Flag(name: .customLong("rw"), help: "Save to the file after every operation.")
  var readWrite = false

  @Flag(
    help:
      "Look at an image whose header or tables are destroyed; what is rebuilt stays in memory, as does the rest."
  )
  var salvage = false

  @Flag(help: "Look at an image while another program writes it; what it writes becomes the history.")
  var follow = false

  @OptionGroup var opening: SessionFlags

  @Flag(help: "Draw with plain ASCII characters.")
  var ascii = false

  @Option(help: "When to use colour: auto, always or never.")
  var color: ColorChoice?

  @Option(help: "What the colours are chosen for: \(ThemeName.sentence).")
  var theme: ThemeName?

  @Flag(name: .customLong("no-mouse"), help: "Leave the mouse to the terminal.")
  var noMouse = false

  @Flag(name: .customLong("no-config"), help: "Do not read the configuration file.")
  var noConfig = false

  @Option(
    help: ArgumentHelp("Play keys and commands from a file, without a terminal.", valueName: "file"),
    completion: .file())
  var script: String?

  @Option(
    help: ArgumentHelp(
      "Do the operations of a saved session again, on the image that it began with.", valueName: "file"),
    completion: .file())
  var replay: String?

  @Option(
    help: ArgumentHelp("Begin a lesson; 'qatlas lesson' lists them.", valueName: "name"), completion: .lessons
  )
  var lesson: String?

  @Option(name: .customLong("lesson-step"), help: .hidden) var lessonStep: Int?
  @Option(name: .customLong("lesson-folder"), help: .hidden) var lessonFolder: String?
  @Flag(help: .hidden) var lessons = false
  @Option(name: .customLong("new-image"), help: .hidden) var newImage: String?

  @Option(
    help: ArgumentHelp("Name parts of the disk by lines of START-END NAME.", valueName: "file"),
    completion: .file())
  var labels: String?

  func validate() throws {
    if readOnly && readWrite { throw ValidationError("--ro and --rw exclude each other") }
    if opening.share.forcesShare && readWrite { throw ValidationError("-U only looks; it excludes --rw") }
    if salvage && (readWrite || image == nil) {
      throw ValidationError("--salvage looks at the image that is named, and excludes --rw")
    }
    if follow && (readWrite || salvage || image == nil) {
      throw ValidationError("--follow looks at the image that is named, and excludes --rw and --salvage")
    }
    if replay != nil && (readOnly || follow) {
      throw ValidationError("--replay changes the image, and excludes --ro and --follow")
    }
    if image == nil && (readOnly || readWrite) { throw ValidationError("--ro and --rw need an image") }
    if image != nil && lesson != nil { throw ValidationError("a lesson has an image of its own") }
    if let lesson, lessonFolder == nil, !LessonNames.all.contains(LessonNames.today(lesson)),
      LessonFolder.find(lesson) == nil
    {
      throw ValidationError("no lesson is called '\(lesson)'; 'qatlas lesson' lists them")
    }
  }

  /// Somebody sits in front of a terminal.
  private var canAsk: Bool { script == nil && isatty(STDIN_FILENO) == 1 && isatty(STDOUT_FILENO) == 1 }

  /// Begins the lesson that was asked for.
  private func beginLesson(_ explorer: Explorer) throws {
    guard let lesson else { return }
    do throws(LessonProblem) {
      let (read, digest) = try LessonSource(lessonFolder).lesson(lesson)
      let step = min(max(1, lessonStep ?? 1) - 1, read.steps.count)
      try explorer.begin(read, digest: digest, at: step)
    } catch { throw fail(nil, error.description) }
  }

  func run() throws { try run(fleet: nil) }

  /// Explores an image or, if there are many, begins with the list of them.
  func run(fleet: HostFleet?) throws {
    // Only what is drawn on a terminal, and only a terminal can be asked, is configured.
    let config = noConfig || script != nil ? Configuration() : Configuration.ofUser
    let keys: KeyMap
    do throws(Configuration.Refusal) {
      try config.check()
      keys = try config.keys()
    } catch { throw fail(nil, error.text) }
    let files = HostFiles(path: image)
    let session: Session
    do throws(Opening.Refusal) {
      session = try open(files)
    } catch { throw fail(error.isNamed ? nil : image, error.text, error.hint ?? "") }
    if let script {
      try play(script, session, files)
    } else {
      try interact(session, files, config, keys, fleet)
    }
  }

  private func open(_ files: HostFiles) throws(Opening.Refusal) -> Session {
    guard let image else {
      do throws(ImageError) {
        return try Demo.session(files: files)
      } catch {
        throw Opening.Refusal(text: error.description)
      }
    }
    do throws(ImageError) { return try open(image, files) } catch {
      var refusal = Opening.Refusal(text: error.description, hint: hint(error))
      refusal.isNamed = error.file == image
      throw refusal
    }
  }

  /// Opens the image, for the first time or again.
  private func open(
    _ image: String, _ files: HostFiles, salvages: Bool = false
  ) throws(ImageError) -> Session {
    let mode: Session.Mode = readOnly ? .readOnly : readWrite ? .readWrite : .scratch
    return try opening.open(
      image, files, mode: mode, salvages: salvage || salvages, follows: follow, readsConfiguration: !noConfig,
      saysWrongLines: script != nil,
      asks: canAsk && !files.isTurned)
  }

  /// Lets the explorer open its image again, and others.
  private func allowReloading(_ explorer: Explorer, _ files: HostFiles) {
    explorer.shelf = HostShelf(files, opening.chain) {
      (image, files, salvages) throws(ImageError) in
      try open(image, files, salvages: salvages)
    }
    explorer.server = HostServer()
    FleetBrowsing.allow(
      HostFleet(FleetNames(), HostFleet.Options(policy: opening.chain.policy)), on: explorer)
    guard let image else { return }
    explorer.reopen = { () throws(ImageError) in try open(image, files) }
  }

  /// What can be done about an image that does not open.
  private func hint(_ error: ImageError) -> String {
    if let hint = error.hint {
      return Escaping.human(hint) + "\n-U opens the image all the same, to look at it.\n"
    }
    return error.remedy.map { Escaping.human($0) + "\n" } ?? ""
  }

  /// A sentence on standard error and exit code 1.
  private func fail(_ name: String?, _ message: String, _ hint: String = "") -> ExitCode {
    let names = name.map { "\(Escaping.human($0)): " } ?? ""
    Output.error("qatlas: \(names)\(Escaping.human(message))\n" + hint)
    return .failure
  }

  private func play(_ script: String, _ session: Session, _ files: HostFiles) throws {
    let text: String
    do throws(StorageError) {
      let file = try FileOpener().open(script, for: .text)
      guard file.length <= 16 << 20 else {
        throw StorageError(.read, name: script, detail: "longer than 16 MiB")
      }
      text = ByteText.text(try file.bytes(at: 0, count: Int(file.length)))
    } catch { throw fail(nil, error.description) }
    let explorer = Explorer(session, files: files, width: 80, height: 24, glyphs: .ascii)
    allowReloading(explorer, files)
    try beginLesson(explorer)
    try showLabels(explorer)
    if let replay {
      do throws(CommandError) { try explorer.replay(replay) } catch { throw fail(nil, error.description) }
    }
    do throws(ScriptError) {
      try ScriptRunner.run(text, on: explorer)
    } catch { throw fail(nil, "\(script), \(error.description)") }
  }

  private func readLabels() throws -> GuestLabels? {
    do throws(CommandError) {
      return try labels.map { path throws(CommandError) in try GuestLabels(file: path) }
    } catch { throw fail(nil, error.description) }
  }

  private func showLabels(_ explorer: Explorer) throws {
    if let named = try readLabels() { explorer.show(labels: named) }
  }

  private func interact(
    _ session: Session, _ files: HostFiles, _ config: Configuration, _ keys: KeyMap, _ fleet: HostFleet?
  ) throws {
    // Before the terminal is switched, so that what is wrong can be read.
    let named = try readLabels()
    let choice = color ?? config.value(of: "--color").flatMap { ColorChoice(rawValue: $0) } ?? .auto
    var options = TerminalOptions()
    options.color = choice == .always ? .always : choice == .never ? .never : .auto
    if ascii || config.contains("--ascii") { options.glyphs = .ascii }
    options.theme = theme ?? config.theme ?? .dark
    options.mouse = !(noMouse || config.contains("--no-mouse"))
    let terminal: Terminal
    do throws(TerminalError) { terminal = try Terminal(options: options) } catch {
      Output.error("qatlas: \(error.message)\n")
      throw ExitCode(2)
    }
    let explorer = Explorer(
      session, files: files, width: terminal.size.width, height: terminal.size.height,
      glyphs: terminal.glyphs,
      mouse: options.mouse, history: files.history(), keys: keys)
    allowReloading(explorer, files)
    do { try beginLesson(explorer) } catch {
      terminal.close()
      throw error
    }
    if let fleet { FleetBrowsing.begin(with: fleet, on: explorer) }
    if lessons { _ = explorer.perform(Command(.lessons)) }
    if let named { explorer.show(labels: named) }
    if let missing = session.image.missingLayer {
      explorer.tell("read-only, without a layer: \(Escaping.human(missing.reason))", error: true)
    }
    if let replay {
      do throws(CommandError) { try explorer.replay(replay) } catch {
        explorer.tell(error.description, error: true)
      }
    }
    let loop = MainLoop(terminal, explorer, files)
    if let newImage { _ = explorer.perform(Command(.newImage, newImage.isEmpty ? [] : [newImage])) }
    loop.run()
    terminal.close()
  }
}
