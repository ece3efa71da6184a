//! The modules of a crate, and which of them uses which.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use super::lexer;

/// The name that the file of a folder has among the folder's rooms: `mod.rs`, `lib.rs` or `main.rs`.
pub(crate) const FACADE: &str = "(page)";

type ModulePath = Vec<String>;

/// The modules of one crate as it is compiled without tests.
#[derive(Debug, Default)]
pub(crate) struct Crate {
    modules: BTreeMap<ModulePath, Module>,
}

#[derive(Debug, Default)]
struct Module {
    file: PathBuf,
    /// What the names in the file stand for, by `use`.
    names: BTreeMap<String, ModulePath>,
    /// Absolute paths that the file uses, and whether it only passes them on by `pub use`.
    uses: Vec<(ModulePath, bool)>,
}

/// A room of a folder that uses another room of the same folder.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Arrow {
    /// The folder as a path, `producer/spool`; `None` for the root of the crate.
    pub(crate) folder: Option<String>,
    pub(crate) from: String,
    pub(crate) to: String,
    pub(crate) file: String,
}

impl Crate {
    /// Reads the modules from the file of the root on.
    pub(crate) fn read(start: &Path) -> Self {
        let mut one = Self::default();
        let children = start.parent().unwrap().to_owned();
        one.read_module(Vec::new(), start, &children);
        assert!(!one.modules.is_empty(), "{}", start.display());
        one
    }

    fn read_module(&mut self, path: ModulePath, file: &Path, children: &Path) {
        let text = fs::read_to_string(file).unwrap();
        let tokens = lexer::tokens(&text);
        let mut module = Module {
            file: file.to_owned(),
            ..Module::default()
        };
        let mut declared = Vec::new();
        Reader::new(&path, &mut module, &mut declared).read(&tokens);
        self.modules.insert(path.clone(), module);
        for child in declared {
            let plain = children.join(format!("{child}.rs"));
            let folder = children.join(&child);
            let file = match plain.exists() {
                true => plain,
                false => folder.join("mod.rs"),
            };
            assert!(
                file.exists(),
                "no file for module {child} in {}",
                children.display()
            );
            let mut path = path.clone();
            path.push(child);
            self.read_module(path, &file, &folder);
        }
    }

    /// The files of all modules.
    pub(crate) fn files(&self) -> Vec<PathBuf> {
        self.modules.values().map(|m| m.file.clone()).collect()
    }

    /// The rooms of a folder: the modules right below it.
    pub(crate) fn rooms(&self, folder: &str) -> BTreeSet<String> {
        let folder: ModulePath = folder.split('/').map(str::to_owned).collect();
        let below = self
            .modules
            .keys()
            .filter(|path| path.len() == folder.len() + 1 && path.starts_with(&folder));
        below.filter_map(|path| path.last().cloned()).collect()
    }

    /// Returns the module in which a path ends, passing through re-exports.
    fn owner(&self, path: &[String]) -> Option<ModulePath> {
        let mut path = path.to_owned();
        // Re-exports of re-exports end some time.
        for _ in 0..20 {
            let known = (0..=path.len())
                .rev()
                .find(|&n| self.modules.contains_key(&path[..n]))?;
            let module = &self.modules[&path[..known]];
            let Some(name) = path.get(known) else {
                return Some(path);
            };
            let Some(target) = module.names.get(name) else {
                return Some(path[..known].to_owned());
            };
            let mut target = target.clone();
            target.extend_from_slice(&path[known + 1..]);
            if target == path {
                return Some(path[..known].to_owned());
            }
            path = target;
        }
        None
    }

    /// Every use of a room by another one of its folder.
    pub(crate) fn arrows(&self) -> BTreeSet<Arrow> {
        let mut arrows = BTreeSet::new();
        for (path, module) in &self.modules {
            for (used, passed_on) in &module.uses {
                let Some(owner) = self.owner(used) else {
                    continue;
                };
                if *passed_on && owner.starts_with(path) {
                    continue;
                }
                let common = path.iter().zip(&owner).take_while(|(a, b)| a == b).count();
                if path.len() == common && owner.len() == common {
                    continue;
                }
                let room = |of: &[String]| of.get(common).map_or(FACADE, String::as_str).to_owned();
                arrows.insert(Arrow {
                    folder: (common > 0).then(|| path[..common].join("/")),
                    from: room(path),
                    to: room(&owner),
                    file: shown(&module.file),
                });
            }
        }
        arrows
    }
}

/// Reads the paths of one file.
struct Reader<'a> {
    module: &'a mut Module,
    declared: &'a mut Vec<String>,
    /// The module that is being read: that of the file, or one inside it.
    here: ModulePath,
    /// The depths of braces at which modules inside the file began.
    inside: Vec<usize>,
    depth: usize,
}

impl<'a> Reader<'a> {
    fn new(path: &[String], module: &'a mut Module, declared: &'a mut Vec<String>) -> Self {
        Self {
            module,
            declared,
            here: path.to_owned(),
            inside: Vec::new(),
            depth: 0,
        }
    }

    fn read(&mut self, tokens: &[String]) {
        let mut at = 0;
        let mut public = false;
        while at < tokens.len() {
            let token = tokens[at].as_str();
            match token {
                "pub" => {
                    public = true;
                    at += 1;
                    if tokens.get(at).is_some_and(|t| t == "(") {
                        while tokens[at] != ")" {
                            at += 1;
                        }
                        at += 1;
                    }
                    continue;
                }
                "mod" => {
                    let name = tokens[at + 1].clone();
                    match tokens.get(at + 2).map(String::as_str) {
                        Some(";") if self.inside.is_empty() => self.declared.push(name),
                        Some("{") => {
                            self.here.push(name);
                            self.inside.push(self.depth);
                            self.depth += 1;
                        }
                        _ => {}
                    }
                    at += 3;
                }
                "use" => at = self.read_use(tokens, at + 1, &[], public),
                "{" => {
                    self.depth += 1;
                    at += 1;
                }
                "}" => {
                    self.depth = self.depth.saturating_sub(1);
                    if self.inside.last() == Some(&self.depth) {
                        self.inside.pop();
                        self.here.pop();
                    }
                    at += 1;
                }
                "crate" | "super" | "self" if tokens.get(at + 1).is_some_and(|t| t == "::") => {
                    let mut path = Vec::new();
                    while let Some(word) = tokens.get(at) {
                        path.push(word.clone());
                        at += 1;
                        if tokens.get(at).is_none_or(|t| t != "::") {
                            break;
                        }
                        at += 1;
                    }
                    self.add(&path, false);
                }
                _ => {
                    // `child::item` in the file of a folder.
                    let after = tokens.get(at + 1).is_some_and(|t| t == "::");
                    let first = at == 0 || tokens[at - 1] != "::";
                    if after
                        && first
                        && self.inside.is_empty()
                        && self.declared.contains(&tokens[at])
                    {
                        let path = ["self".to_owned(), tokens[at].clone()];
                        self.add(&path, false);
                    }
                    at += 1;
                }
            }
            public = false;
        }
    }

    /// Reads a tree of `use` from `at` on, and returns the place after it.
    fn read_use(
        &mut self,
        tokens: &[String],
        mut at: usize,
        before: &[String],
        public: bool,
    ) -> usize {
        let mut path = before.to_vec();
        while let Some(token) = tokens.get(at).map(String::as_str) {
            match token {
                "::" => at += 1,
                "{" => {
                    at += 1;
                    while tokens.get(at).is_some_and(|t| t != "}") {
                        at = self.read_use(tokens, at, &path, public);
                        if tokens.get(at).is_some_and(|t| t == ",") {
                            at += 1;
                        }
                    }
                    return at + 1;
                }
                ";" | "," | "}" => break,
                "as" => {
                    let name = tokens[at + 1].clone();
                    self.add_name(&name, &path, public);
                    return at + 2;
                }
                // `a::{self, b}` is `a` and `a::b`.
                "self" if !path.is_empty() => at += 1,
                word => {
                    path.push(word.to_owned());
                    at += 1;
                }
            }
        }
        if let Some(name) = path.last().cloned() {
            self.add_name(&name, &path, public);
        }
        at
    }

    fn add_name(&mut self, name: &str, path: &[String], public: bool) {
        if let Some(absolute) = self.add(path, public)
            && self.inside.is_empty()
        {
            self.module.names.insert(name.to_owned(), absolute);
        }
    }

    /// Adds a path that is used. Returns it from the root of the crate on, if it is one of this crate.
    fn add(&mut self, path: &[String], passed_on: bool) -> Option<ModulePath> {
        let mut absolute = self.here.clone();
        let mut rest = path;
        match path.first()?.as_str() {
            "crate" => absolute.clear(),
            "self" => {}
            "super" => {
                while let [first, more @ ..] = rest
                    && first == "super"
                {
                    absolute.pop();
                    rest = more;
                }
                absolute.extend_from_slice(rest);
                self.module.uses.push((absolute.clone(), passed_on));
                return Some(absolute);
            }
            child if self.declared.iter().any(|d| d == child) => {
                absolute.extend_from_slice(rest);
                self.module.uses.push((absolute.clone(), passed_on));
                return Some(absolute);
            }
            _ => return None,
        }
        absolute.extend_from_slice(&rest[1..]);
        self.module.uses.push((absolute.clone(), passed_on));
        Some(absolute)
    }
}

/// A file by its path from the root of the repository on.
pub(crate) fn shown(file: &Path) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let inside = file.strip_prefix(root).unwrap_or(file);
    inside.display().to_string()
}
