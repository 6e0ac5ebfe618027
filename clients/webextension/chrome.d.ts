// What browsers give to extensions: its types would be another dependency.
declare const chrome: any;
